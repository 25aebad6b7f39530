// SPDX-License-Identifier: MIT

// Command sample serves quotes over HTTP. It is what cmd/try builds: small itself, but with a good part of the
// standard library below it.
package main

import (
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"

	"example.org/sample/quotes"
)

//go:embed quotes.json
var stored []byte

func main() {
	address := flag.String("listen", "", "address to serve on, for example localhost:8080; without it, print one quote")
	flag.Parse()
	list, err := quotes.Parse(stored)
	if err != nil {
		log.Fatal(err)
	}
	if *address == "" {
		fmt.Println(list.Pick(0))
		return
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(list.About(r.URL.Query().Get("about"))); err != nil {
			log.Print(err)
		}
	})
	log.Fatal(http.ListenAndServe(*address, nil))
}
