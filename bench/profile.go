// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
)

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// profile measures each contender once more, with a processor profile of its
// server, which Caddy's admin API takes.
func profile(contenders []*contender) error {
	if err := os.MkdirAll(*profiles, 0o755); err != nil {
		return err
	}
	for _, c := range contenders {
		if c.server == nil {
			continue
		}
		path := filepath.Join(*profiles, notInNames.ReplaceAllString(c.name, "-")+".pprof")
		saved := make(chan error, 1)
		go func() { saved <- c.server.saveProfile(path) }()
		_, err := c.measure()
		if err := errors.Join(err, <-saved); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func (s *server) saveProfile(path string) error {
	seconds := max(1, math.Floor(duration.Seconds()))
	resp, err := http.Get(fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%.0f", s.Admin, seconds))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(file, resp.Body)
	return errors.Join(err, file.Close())
}
