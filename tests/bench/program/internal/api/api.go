// SPDX-License-Identifier: MIT

// Package api is the server's face.
package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"tuck.bench/program/internal/archive"
	"tuck.bench/program/internal/auth"
	"tuck.bench/program/internal/metrics"
	"tuck.bench/program/internal/queue"
	"tuck.bench/program/internal/render"
	"tuck.bench/program/internal/store"
	"tuck.bench/program/internal/text"
)

// Server answers requests.
type Server struct {
	Store  *store.Store
	Signer *auth.Signer
	Queue  *queue.Queue
}

// Handler lists the addresses.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/find/", s.counted("find", s.find))
	mux.HandleFunc("/put", s.counted("put", s.put))
	mux.HandleFunc("/zip/", s.counted("zip", func(w http.ResponseWriter, r *http.Request) error {
		return archive.Zip(w, s.Store.Find(strings.TrimPrefix(r.URL.Path, "/zip/")))
	}))
	mux.HandleFunc("/metrics", s.counted("metrics", func(w http.ResponseWriter, _ *http.Request) error {
		return metrics.Print(w)
	}))
	return mux
}

func (s *Server) counted(name string, handle func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		defer metrics.Record(name, time.Now())
		if err := handle(w, r); err != nil {
			http.Error(w, text.Title+": "+err.Error(), http.StatusInternalServerError)
		}
	}
}

func (s *Server) find(w http.ResponseWriter, r *http.Request) error {
	return render.Page(w, s.Store.Find(strings.TrimPrefix(r.URL.Path, "/find/")))
}

func (s *Server) put(w http.ResponseWriter, r *http.Request) error {
	if _, ok := s.Signer.Check(r.Header.Get("Authorization"), time.Now()); !ok {
		http.Error(w, "who are you?", http.StatusForbidden)
		return nil
	}
	var note store.Note
	if err := json.NewDecoder(r.Body).Decode(&note); err != nil {
		return err
	}
	s.Queue.Add(func(context.Context) error {
		s.Store.Put(note.Headline, note.Body)
		return nil
	})
	w.WriteHeader(http.StatusAccepted)
	return nil
}
