// SPDX-License-Identifier: MIT

// Package store keeps notes in memory and finds them by word.
package store

import (
	"errors"
	"sort"
	"sync"

	"tuck.bench/program/internal/text"
)

// ErrAbsent says that there is no such note.
var ErrAbsent = errors.New("no such note")

// Note is one note.
type Note struct {
	Slug, Headline, Body string
}

// Store may be used by many goroutines at once.
type Store struct {
	mu    sync.RWMutex
	notes map[string]Note
	words map[string]map[string]bool
}

// New makes an empty store.
func New() *Store {
	return &Store{notes: map[string]Note{}, words: map[string]map[string]bool{}}
}

// Put adds a note or replaces it.
func (s *Store) Put(headline, body string) Note {
	note := Note{text.Slug(headline), headline, body}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes[note.Slug] = note
	for _, word := range text.Words(headline + " " + body) {
		if s.words[word] == nil {
			s.words[word] = map[string]bool{}
		}
		s.words[word][note.Slug] = true
	}
	return note
}

// Get finds one note.
func (s *Store) Get(slug string) (Note, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	note, ok := s.notes[slug]
	if !ok {
		return Note{}, ErrAbsent
	}
	return note, nil
}

// Find lists the notes with a word, by name.
func (s *Store) Find(word string) []Note {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var found []Note
	for slug := range s.words[word] {
		found = append(found, s.notes[slug])
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Slug < found[j].Slug })
	return found
}
