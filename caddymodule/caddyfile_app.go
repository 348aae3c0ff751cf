// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// parseApp reads the global option. Syntax:
//
//	dovecot_push {
//	    queue embedded {
//	        path      <dir>
//	        sync      always|<duration>
//	        max_age   <duration>
//	        max_bytes <size>
//	    }
//	    queue nats <urls...> {
//	        credentials      <user> <password>
//	        credentials_file <path>
//	        token            <token>
//	        ca_file          <pem>
//	        client_cert      <pem> <key>
//	        replicas         <n>
//	        durability       disk|replicas|any
//	        sync_interval    always|<duration>
//	        monitoring       <urls...>
//	        prefix           <name>
//	        max_age          <duration>
//	        max_bytes        <size>
//	    }
//	    doveadm <urls...> { ... }
//	    imap <url> { ... }                       # see parseIMAP
//	    register on_subscribe|all|off { ... }    # see parseRegister
//	    deliver middleware [<name>] {
//	        path          <path>
//	        credentials   <user> <password>
//	        reverse_proxy <upstreams...> { ... }
//	    }
//	    deliver webhook <name> <url> {
//	        # see the type Webhook
//	    }
//	    deliver webpush {
//	        contact         <mailto:address|https-url>
//	        content         thin|sender|full
//	        ttl             <duration>
//	        allow_endpoints <networks, hosts or URLs...>
//	    }
//	}
//
// There is one queue, and there may be several targets.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next()
	if existing != nil {
		return nil, d.Err("dovecot_push is configured twice; put both into one block")
	}
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	app := new(App)
	err := parseBlock(d, "dovecot_push",
		option{name: "queue", parse: func(d *caddyfile.Dispenser) (err error) {
			app.Queue, err = parseQueue(d)
			return err
		}},
		option{name: "doveadm", parse: func(d *caddyfile.Dispenser) (err error) {
			app.DoveAdm, err = parseDoveAdm(d)
			return err
		}},
		option{name: "imap", parse: func(d *caddyfile.Dispenser) (err error) {
			app.IMAP, err = parseIMAP(d)
			return err
		}},
		option{name: "register", parse: func(d *caddyfile.Dispenser) (err error) {
			app.Register, err = parseRegister(d)
			return err
		}},
		option{name: "deliver", repeat: true, parse: func(d *caddyfile.Dispenser) error {
			return parseTarget(d, app)
		}},
	)
	if err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "dovecot_push", Value: caddyconfig.JSON(app, nil)}, nil
}

func parseQueue(d *caddyfile.Dispenser) (*Queue, error) {
	if !d.NextArg() {
		return nil, d.Err("queue is either \"queue embedded\" or \"queue nats <urls...>\"")
	}
	q := new(Queue)
	limits := []option{durationOption("max_age", &q.MaxAge), sizeOption("max_bytes", &q.MaxBytes)}
	switch kind := d.Val(); kind {
	case "embedded":
		if d.NextArg() {
			return nil, d.ArgErr()
		}
		q.Embedded = new(EmbeddedQueue)
		return q, parseBlock(d, "queue embedded", append(limits,
			stringOption("path", &q.Embedded.Path),
			option{name: "sync", parse: func(d *caddyfile.Dispenser) error { return parseSync(d, q.Embedded) }},
		)...)
	case "nats":
		n := &NATSQueue{URLs: d.RemainingArgs()}
		q.NATS = n
		if len(n.URLs) == 0 {
			return nil, d.Err("queue nats needs the URL of at least one server, such as nats://n1:4222")
		}
		return q, parseBlock(d, "queue nats", append(limits,
			pairOption("credentials", false, func(u, p string) { n.Username, n.Password = u, p }),
			stringOption("credentials_file", &n.CredentialsFile),
			stringOption("token", &n.Token),
			stringOption("ca_file", &n.CAFile),
			pairOption("client_cert", false, func(c, k string) { n.ClientCertFile, n.ClientKeyFile = c, k }),
			intOption("replicas", &n.Replicas),
			stringOption("durability", &n.Durability),
			stringOption("sync_interval", &n.SyncInterval),
			listOption("monitoring", &n.Monitoring),
			stringOption("prefix", &n.Prefix),
			option{name: "sync", parse: func(d *caddyfile.Dispenser) error {
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
	return parseDuration(d, "sync", s, &q.Sync)
}

// parseTarget reads what stands after deliver: the kind of the target, which
// is a module in the namespace dovecot_push.targets. The module reads the rest.
func parseTarget(d *caddyfile.Dispenser, app *App) error {
	if !d.NextArg() {
		return d.Errf("deliver needs the kind of the target: %s", targetKinds())
	}
	kind := d.Val()
	if _, err := caddy.GetModule(targetNamespace + "." + kind); err != nil {
		return d.Errf("there is no target %q; there are: %s", kind, targetKinds())
	}
	target, err := caddyfile.UnmarshalModule(d, targetNamespace+"."+kind)
	if err != nil {
		return err
	}
	app.TargetsRaw = append(app.TargetsRaw, caddyconfig.JSONModuleObject(target, "target", kind, nil))
	return nil
}

// targetKinds lists the targets there are, those of other modules included.
func targetKinds() string {
	var kinds []string
	for _, m := range caddy.GetModules(targetNamespace) {
		if _, ok := m.New().(caddyfile.Unmarshaler); ok {
			kinds = append(kinds, m.ID.Name())
		}
	}
	return strings.Join(kinds, ", ")
}

// UnmarshalCaddyfile reads the block of deliver middleware. Syntax:
//
//	deliver middleware [<name>] {
//	    path          <path>
//	    credentials   <user> <password>
//	    open_xchange
//	    reverse_proxy <upstreams...> {
//	        # every option of Caddy's reverse_proxy but handle_response
//	    }
//	}
func (m *Middleware) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the kind of the target
	if d.NextArg() {
		m.Name = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	err := parseBlock(d, "deliver middleware",
		stringOption("path", &m.Path),
		pairOption("credentials", false, func(u, p string) { m.Username, m.Password = u, p }),
		flagOption("open_xchange", &m.OpenXchange),
		option{name: "reverse_proxy", parse: func(d *caddyfile.Dispenser) error {
			segment := d.NextSegment()
			// The answer goes nowhere, and parsing routes takes a site block.
			for scan := caddyfile.NewDispenser(segment); scan.Next(); {
				if scan.Val() == "handle_response" {
					return scan.Err("handle_response cannot be used here: nobody gets the response")
				}
			}
			proxy := new(reverseproxy.Handler)
			if err := proxy.UnmarshalCaddyfile(caddyfile.NewDispenser(segment)); err != nil {
				return err
			}
			if err := proxy.FinalizeUnmarshalCaddyfile(httpcaddyfile.Helper{Dispenser: d}); err != nil {
				return err
			}
			m.ReverseProxyRaw = caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil)
			return nil
		}},
	)
	if err != nil {
		return err
	}
	if m.ReverseProxyRaw == nil {
		return d.Err("deliver middleware needs reverse_proxy with the nodes of the middleware, such as: reverse_proxy ox1:8009 ox2:8009")
	}
	return nil
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Middleware)(nil)
