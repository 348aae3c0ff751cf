// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/crypto/bcrypt"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
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
	standIn := doveadmtest.NewServer(doveadmtest.Config{Users: doveadmtest.UserNames(2 * users)[users:]})
	defer standIn.Down()
	all := registering(away, standIn)
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
		{name: "this module, without the catch-up", caddyfile: strings.Replace(all, "register all", "register all\ncatch_up {\noff\n}", 1)},
		{name: "this module, with the catch-up", caddyfile: all},
	} {
		s, err := b.caddy(b.binary, c.caddyfile, "API_SECRET="+standIn.APISecret())
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if strings.Contains(c.caddyfile, "register all") {
			if err := s.registered(users); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
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
	bare, proxy, ours, without, with := contenders[0], contenders[1], contenders[2], contenders[5], contenders[6]
	judge(
		ratio{"requests/s over `respond 200`", ours, bare, result.rate, atLeast(0.6)},
		ratio{"requests/s over `remote_ip` + `basic_auth` + `reverse_proxy`", ours, proxy, result.rate, atLeast(2.5)},
		ratio{"p99 over `respond 200`", ours, bare, result.p99Latency, atMost(2)},
		ratio{"requests/s with the catch-up over those without", with, without, result.rate, atLeast(0.97)},
		ratio{"CPU each with the catch-up over that without", with, without, result.cpuPerRequest, atMost(1.03)},
	)
	return nil
}

// registering is this module with those users registered who get the mails.
func registering(middleware string, standIn *doveadmtest.Server) string {
	return delivering("doveadm "+standIn.URL()+" {\napi_secret {env.API_SECRET}\n}\nregister all\ndeliver middleware {\nreverse_proxy "+middleware+"\n}\n", "sync always")
}
