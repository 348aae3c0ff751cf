// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/bcrypt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

const (
	front    = 32 // connections, as from a mail server with 32 deliveries at once
	hashCost = 14 // what "caddy hash-password" takes
)

// accept compares taking notifications in with the least and with the most
// that Caddy alone would do.
func (b *bench) accept() error {
	middleware, err := b.middleware()
	if err != nil {
		return err
	}
	away, err := freeport.Address()
	if err != nil {
		return err
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	if err != nil {
		return err
	}
	var contenders []*contender
	for _, c := range []struct {
		name, caddyfile string
		drain           bool
	}{
		{name: "`respond 200`", caddyfile: respond},
		{name: "`remote_ip` + `basic_auth` + `reverse_proxy`", caddyfile: proxied(middleware, string(hash))},
		{name: "this module, `sync always`", caddyfile: accepting(away, "sync always")},
		{name: "this module, delivering meanwhile", caddyfile: accepting(middleware, "sync always"), drain: true},
		{name: "this module, `sync 1s`", caddyfile: accepting(away, "sync 1s")},
	} {
		s, err := b.caddy(b.binary, c.caddyfile)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		contenders = append(contenders, &contender{name: c.name, server: s, measure: func() (result, error) {
			r, err := load{address: s.address, connections: front, duration: *duration}.run()
			if c.drain {
				err = errors.Join(err, s.drained()) // or it would disturb the next one
			}
			return r, err
		}})
	}
	if err := compare("requests/s", contenders...); err != nil {
		return err
	}
	bare, proxy, ours := contenders[0], contenders[1], contenders[2]
	judge(
		ratio{"requests/s over `respond 200`", ours, bare, result.rate, atLeast(0.6)},
		ratio{"requests/s over `remote_ip` + `basic_auth` + `reverse_proxy`", ours, proxy, result.rate, atLeast(2.5)},
		ratio{"p99 over `respond 200`", ours, bare, result.p99Latency, atMost(2)},
	)
	return nil
}
