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

// rest compares the idle process with the same Caddy without the module: its memory,
// and how often its threads wake up.
func (b *bench) rest() error {
	plain, err := b.plainCaddy()
	if err != nil {
		return err
	}
	away, err := freeport.Address()
	if err != nil {
		return err
	}
	const idle = 10 * time.Second
	type figures struct{ memory, wakeUps []float64 }
	var with, without figures
	for range *rounds {
		for _, c := range []struct {
			binary, caddyfile string
			to                *figures
		}{{plain, respond, &without}, {b.binary, accepting(away, "sync always"), &with}} {
			s, err := b.caddy(c.binary, c.caddyfile)
			if err != nil {
				return err
			}
			time.Sleep(idle) // until what a start brings is over
			before, err := wakeUps(s.PID())
			if err != nil {
				return err
			}
			time.Sleep(idle)
			after, err := wakeUps(s.PID())
			if err != nil {
				return err
			}
			mib, err := residentMemory(s.PID())
			if err != nil {
				return err
			}
			c.to.memory = append(c.to.memory, mib)
			c.to.wakeUps = append(c.to.wakeUps, float64(after-before)/idle.Seconds())
			b.stop(s)
		}
	}
	wanted, more := atMost(40), median(with.memory)-median(without.memory)
	fmt.Printf("%.1f MiB without the module, %.1f MiB with it: +%.1f MiB (wanted: %v), %s.\n",
		median(without.memory), median(with.memory), more, wanted, wanted.verdict(more))
	wanted, more = atMost(15), median(with.wakeUps)-median(without.wakeUps)
	fmt.Printf("%.0f wake-ups a second without the module, %.0f with it: +%.0f (wanted: %v), %s.\n",
		median(without.wakeUps), median(with.wakeUps), more, wanted, wanted.verdict(more))
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
