// SPDX-License-Identifier: MIT

// Package quotes keeps a list of quotes.
package quotes

import (
	"encoding/json"
	"errors"
	"strings"
)

// Quote is what somebody said.
type Quote struct {
	Who  string `json:"who"`
	Text string `json:"text"`
}

// String is the quote as it is printed.
func (q Quote) String() string { return q.Text + " (" + q.Who + ")" }

// List is a non-empty list of quotes.
type List []Quote

// ErrEmpty says that there is nothing to quote.
var ErrEmpty = errors.New("no quotes")

// Parse reads a list from JSON.
func Parse(data []byte) (List, error) {
	var list List
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, ErrEmpty
	}
	return list, nil
}

// Pick returns the n-th quote, counting round and round.
func (l List) Pick(n int) Quote { return l[n%len(l)] }

// About returns the quotes that contain a word, in any letter case.
func (l List) About(word string) List {
	found := List{}
	for _, q := range l {
		if strings.Contains(strings.ToLower(q.Text), strings.ToLower(word)) {
			found = append(found, q)
		}
	}
	return found
}
