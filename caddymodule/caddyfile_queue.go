// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

func parseQueue(d *caddyfile.Dispenser) (*Queue, error) {
	if !d.NextArg() {
		return nil, d.Err("queue is either \"queue embedded\" or \"queue nats <urls...>\"")
	}
	q := new(Queue)
	limits := []option.Option{option.Duration("max_age", &q.MaxAge), option.Size("max_bytes", &q.MaxBytes)}
	switch kind := d.Val(); kind {
	case "embedded":
		if d.NextArg() {
			return nil, d.ArgErr()
		}
		q.Embedded = new(EmbeddedQueue)
		return q, option.Block(d, "queue embedded", append(limits,
			option.String("path", &q.Embedded.Path),
			option.Option{Name: "sync", Parse: func(d *caddyfile.Dispenser) error { return parseSync(d, q.Embedded) }},
		)...)
	case "nats":
		n := &NATSQueue{URLs: d.RemainingArgs()}
		q.NATS = n
		if len(n.URLs) == 0 {
			return nil, d.Err("queue nats needs the URL of at least one server, such as nats://n1:4222")
		}
		return q, option.Block(d, "queue nats", append(limits,
			option.Pair("credentials", false, func(u, p string) { n.Username, n.Password = u, p }),
			option.String("credentials_file", &n.CredentialsFile),
			option.String("token", &n.Token),
			option.String("ca_file", &n.CAFile),
			option.Pair("client_cert", false, func(c, k string) { n.ClientCertFile, n.ClientKeyFile = c, k }),
			option.Int("replicas", &n.Replicas),
			option.String("durability", &n.Durability),
			option.String("sync_interval", &n.SyncInterval),
			option.List("monitoring", &n.Monitoring),
			option.String("prefix", &n.Prefix),
			option.Option{Name: "sync", Parse: func(d *caddyfile.Dispenser) error {
				return d.Err("how often a NATS server syncs is set there: sync_interval in the jetstream block of its configuration; the option sync_interval tells what it is")
			}},
		)...)
	default:
		return nil, d.Errf("there is no queue %q; there are: embedded, nats", kind)
	}
}

func parseSync(d *caddyfile.Dispenser, q *EmbeddedQueue) error {
	var s string
	if !d.AllArgs(&s) {
		return d.ArgErr()
	}
	if s == "always" {
		return nil
	}
	return option.ParseDuration(d, "sync", s, &q.Sync)
}
