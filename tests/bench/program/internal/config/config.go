// SPDX-License-Identifier: MIT

// Package config reads the server's settings.
package config

import (
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tuck.bench/program/internal/text"
)

// Config holds the settings in force.
type Config struct {
	Listen  string        `json:"listen" xml:"listen"`
	Title   string        `json:"title" xml:"title"`
	Timeout time.Duration `json:"timeout" xml:"timeout"`
}

// Load takes the flags, then the file that they name.
func Load(arguments []string) (*Config, error) {
	config := &Config{Listen: "localhost:0", Title: text.Title, Timeout: 5 * time.Second}
	flags := flag.NewFlagSet("server", flag.ContinueOnError)
	file := flags.String("config", "", "settings `file`")
	flags.StringVar(&config.Listen, "listen", config.Listen, "address")
	if err := flags.Parse(arguments); err != nil || *file == "" {
		return config, err
	}
	raw, err := os.ReadFile(*file)
	if err != nil {
		return nil, err
	}
	if filepath.Ext(*file) == ".xml" {
		err = xml.Unmarshal(raw, config)
	} else {
		err = json.Unmarshal(raw, config)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", *file, err)
	}
	return config, nil
}
