// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const front = 32 // connections, as from a mail server with 32 deliveries at once

// accept compares taking notifications in with the least and with the most
// that Caddy alone would do.
func (b *bench) accept() error {
	middleware, err := b.middleware()
	if err != nil {
		return err
	}
	away, err := closedPort()
	if err != nil {
		return err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		return err
	}
	var contenders []*contender
	for _, c := range []struct{ name, caddyfile string }{
		{"respond 200", respond},
		{"remote_ip + basic_auth + reverse_proxy", proxied(middleware, string(hash))},
		{"this module", accepting(away, "sync always")},
		{"this module, delivering meanwhile", accepting(middleware, "sync always")},
		{"this module, sync 1s", accepting(away, "sync 1s")},
	} {
		s, err := b.caddy(b.binary, c.caddyfile)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		contenders = append(contenders, &contender{name: c.name, measure: func() (result, error) {
			r, err := load{address: s.address, connections: front, duration: *duration}.run()
			if strings.Contains(c.name, "delivering") {
				err = errors.Join(err, s.drained()) // or it would disturb the next one
			}
			return r, err
		}})
	}
	if err := compare(contenders); err != nil {
		return err
	}
	fmt.Println()
	bare, proxy, ours := contenders[0], contenders[1], contenders[2]
	ratio("requests/s over respond 200", ours, bare, result.rate, ">= 0.6")
	ratio("requests/s over remote_ip + basic_auth + reverse_proxy", ours, proxy, result.rate, ">= 2.5")
	ratio("p99 over respond 200", ours, bare, p99, "<= 2")
	return nil
}

// connections shows how one fsync serves many connections.
func (b *bench) connections() error {
	away, err := closedPort()
	if err != nil {
		return err
	}
	s, err := b.caddy(b.binary, accepting(away, "sync always"))
	if err != nil {
		return err
	}
	var contenders []*contender
	for _, n := range []int{1, 10, 64, 256} {
		contenders = append(contenders, &contender{
			name: fmt.Sprintf("sync always, %d connections", n),
			measure: func() (result, error) {
				return load{address: s.address, connections: n, duration: *duration}.run()
			},
		})
	}
	return compare(contenders)
}

// waiting shows that a backlog does not slow the front down.
func (b *bench) waiting() error {
	away, err := closedPort()
	if err != nil {
		return err
	}
	empty, err := b.caddy(b.binary, accepting(away, "sync always"))
	if err != nil {
		return err
	}
	full, err := b.caddy(b.binary, accepting(away, "sync always"))
	if err != nil {
		return err
	}
	begin := time.Now()
	if _, err := (load{address: full.address, connections: 256, requests: *waiting}).run(); err != nil {
		return err
	}
	fmt.Printf("filled with %d notifications in %v\n", *waiting, time.Since(begin).Round(time.Second))
	var contenders []*contender
	for _, c := range []struct {
		name string
		*server
	}{{"an empty queue at first", empty}, {fmt.Sprintf("%d waiting", *waiting), full}} {
		contenders = append(contenders, &contender{name: c.name, measure: func() (result, error) {
			return load{address: c.address, connections: front, duration: *duration}.run()
		}})
	}
	if err := compare(contenders); err != nil {
		return err
	}
	fmt.Println()
	ratio("requests/s over those with an empty queue", contenders[1], contenders[0], result.rate, ">= 0.9")
	return nil
}

// memory compares the idle process with the same Caddy without the module.
func (b *bench) memory() error {
	plain, err := b.plainCaddy()
	if err != nil {
		return err
	}
	away, err := closedPort()
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
	fmt.Printf("idle, Caddy without the module: %6.1f MiB\nidle, with it:                  %6.1f MiB\n", median(without), median(with))
	fmt.Printf("%-60s %6.1f  (asked for: <= 40)\n", "difference, MiB", median(with)-median(without))
	return nil
}
