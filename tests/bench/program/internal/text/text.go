// SPDX-License-Identifier: MIT

// Package text is what every other package imports: the benchmark edits this file.
package text

import (
	"strings"
	"unicode"
)

// Title is shown on every page.
const Title = "notes"

// Words splits s at everything that is neither a letter nor a digit.
func Words(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
}

// Slug turns a headline into a name for an address.
func Slug(s string) string {
	return strings.ToLower(strings.Join(Words(s), "-"))
}
