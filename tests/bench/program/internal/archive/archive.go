// SPDX-License-Identifier: MIT

// Package archive hands out all notes in one file.
package archive

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"io"

	"tuck.bench/program/internal/store"
)

// Zip writes notes as a zip file.
func Zip(w io.Writer, notes []store.Note) error {
	archive := zip.NewWriter(w)
	for _, note := range notes {
		file, err := archive.Create(note.Slug + ".txt")
		if err != nil {
			return err
		}
		if _, err := io.WriteString(file, note.Body); err != nil {
			return err
		}
	}
	return archive.Close()
}

// Tar writes notes as a compressed tar file.
func Tar(w io.Writer, notes []store.Note) error {
	compressed := gzip.NewWriter(w)
	archive := tar.NewWriter(compressed)
	for _, note := range notes {
		header := &tar.Header{Name: note.Slug + ".txt", Mode: 0o644, Size: int64(len(note.Body))}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := io.WriteString(archive, note.Body); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	return compressed.Close()
}
