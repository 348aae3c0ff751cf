// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// memory compares the idle process with the same Caddy without the module.
func (b *bench) memory() error {
	plain, err := b.plainCaddy()
	if err != nil {
		return err
	}
	away, err := freeport.Address()
	if err != nil {
		return err
	}
	var with, without []float64
	for range *rounds {
		for _, c := range []struct {
			binary, caddyfile string
			to                *[]float64
		}{{plain, respond, &without}, {b.binary, accepting(away, "sync always"), &with}} {
			s, err := b.caddy(c.binary, c.caddyfile)
			if err != nil {
				return err
			}
			time.Sleep(5 * time.Second) // idle
			mib, err := residentMemory(s.PID())
			if err != nil {
				return err
			}
			*c.to = append(*c.to, mib)
			b.stop(s)
		}
	}
	wanted, more := atMost(40), median(with)-median(without)
	fmt.Printf("%.1f MiB without the module, %.1f MiB with it: +%.1f MiB (wanted: %v), %s.\n",
		median(without), median(with), more, wanted, wanted.verdict(more))
	return nil
}

// plainCaddy builds Caddy without this module.
func (b *bench) plainCaddy() (string, error) {
	path := filepath.Join(b.dir, "caddy-plain")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "github.com/caddyserver/caddy/v2/cmd/caddy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building Caddy without the module: %w\n%s", err, out)
	}
	return path, nil
}
