// SPDX-License-Identifier: MIT

// Hello is the benchmark's small program, for smoke runs.
package main

import (
	"fmt"

	"tuck.bench/program/internal/text"
)

func main() {
	fmt.Println(text.Slug("Hello from " + text.Title))
}
