// SPDX-License-Identifier: MIT

// Package render makes pages and pictures.
package render

import (
	"html/template"
	"image"
	"image/color"
	"image/png"
	"io"

	"tuck.bench/program/internal/store"
	"tuck.bench/program/internal/text"
)

var page = template.Must(template.New("page").Parse(
	`<!doctype html><title>{{.Title}}</title>{{range .Notes}}<h1>{{.Headline}}</h1><p>{{.Body}}</p>{{end}}`))

// Page writes notes as HTML.
func Page(w io.Writer, notes []store.Note) error {
	return page.Execute(w, struct {
		Title string
		Notes []store.Note
	}{text.Title, notes})
}

// Bars writes numbers as a picture.
func Bars(w io.Writer, numbers []int) error {
	const height = 64
	picture := image.NewGray(image.Rect(0, 0, len(numbers), height))
	for x, number := range numbers {
		for y := height - number%height; y < height; y++ {
			picture.Set(x, y, color.White)
		}
	}
	return png.Encode(w, picture)
}
