// SPDX-License-Identifier: MIT

// Package metrics counts what the server does.
package metrics

import (
	"expvar"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"tuck.bench/program/internal/text"
)

var (
	requests = expvar.NewMap(text.Title + ".requests")
	spent    = expvar.NewMap(text.Title + ".milliseconds")
)

// Record counts one request.
func Record(name string, began time.Time) {
	requests.Add(text.Slug(name), 1)
	spent.Add(text.Slug(name), time.Since(began).Milliseconds())
}

// Print writes a table of what was counted.
func Print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	requests.Do(func(entry expvar.KeyValue) {
		fmt.Fprintf(table, "%s\t%s\t%s\n", entry.Key, entry.Value, spent.Get(entry.Key))
	})
	return table.Flush()
}
