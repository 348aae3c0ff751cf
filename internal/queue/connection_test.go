// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Whatever makes the server end the connection, or nats.go give it up, the
// queue takes notifications in again, and what reads it goes on.
func TestConnectionComesBack(t *testing.T) {
	t.Parallel()
	type parts struct {
		q      *Queue
		proxy  *natsProxy
		server *natsProcess // where it is the test's own
	}
	inject := func(line string) func(*testing.T, parts) {
		return func(_ *testing.T, p parts) { p.proxy.say(line) }
	}
	ask := func(line string) func(*testing.T, parts) {
		return func(_ *testing.T, p parts) { p.proxy.ask(line) }
	}
	signal := func(s os.Signal) func(*testing.T, parts) {
		return func(t *testing.T, p parts) { require.NoError(t, p.server.cmd.Process.Signal(s)) }
	}
	reload := func(config string) func(*testing.T, parts) {
		return func(t *testing.T, p parts) {
			p.server.configure(t, config)
			require.NoError(t, p.server.cmd.Process.Signal(syscall.SIGHUP))
			time.Sleep(time.Second) // until it went wrong, or did not
			p.server.configure(t, "")
			require.NoError(t, p.server.cmd.Process.Signal(syscall.SIGHUP))
		}
	}
	alone := []string{"the user is removed", "fewer connections are allowed", "nothing may be subscribed to", "lame duck mode", "shutdown"}
	for name, closes := range map[string]func(*testing.T, parts){
		// What a real server does.
		"a control line that is too long": func(_ *testing.T, p parts) {
			_ = p.q.nc().Publish(strings.Repeat("long", 2000), nil)
		},
		"a subject to subscribe to that is too long": func(_ *testing.T, p parts) {
			_, _ = p.q.nc().SubscribeSync(strings.Repeat("long", 2000))
		},
		"what is no protocol":           ask("NONSENSE"),
		"a message over max_payload":    ask("PUB x 99999999"),
		"a wrong number of arguments":   ask("PUB"),
		"a second sign-in":              ask(`CONNECT {"verbose":false,"user":"x","pass":"y"}`),
		"the user is removed":           reload(`authorization { users: [{ user: "other", password: "secret" }] }`),
		"fewer connections are allowed": reload(`max_connections: 0`),
		"nothing may be subscribed to":  reload(`authorization { users: [{ user: "push", password: "secret", permissions: { subscribe: { deny: ">" } } }] }`),
		"lame duck mode": func(t *testing.T, p parts) {
			signal(syscall.SIGUSR2)(t, p)
			time.Sleep(500 * time.Millisecond) // it announces its end
			p.server.kill()
			require.NoError(t, p.server.start())
		},
		"shutdown": func(t *testing.T, p parts) {
			signal(syscall.SIGTERM)(t, p)
			_ = p.server.cmd.Wait()
			require.NoError(t, p.server.start())
		},
		// What a server says in its other states.
		"authentication expired": inject("-ERR 'User Authentication Expired'"),
		"authentication revoked": inject("-ERR 'User Authentication Revoked'"),
		"account expired":        inject("-ERR 'Account Authentication Expired'"),
		"authorization":          inject("-ERR 'Authorization Violation'"),
		"authentication timeout": inject("-ERR 'Authentication Timeout'"),
		"slow consumer":          inject("-ERR 'Slow Consumer'"),
		"stale":                  inject("-ERR 'Stale Connection'"),
		"server shutdown":        inject("-ERR 'Server Shutdown'"),
		"TLS required":           inject("-ERR 'Secure Connection - TLS Required'"),
		"too many connections":   inject("-ERR 'maximum connections exceeded'"),
		"too many of an account": inject("-ERR 'maximum account active connections exceeded'"),
		"too many subscriptions": inject("-ERR 'maximum subscriptions exceeded'"),
		"permissions":            inject(`-ERR 'Permissions Violation for Publish to "x"'`),
		"max payload":            inject("-ERR 'Maximum Payload Violation'"),
		"max control line":       inject("-ERR 'Maximum Control Line Exceeded'"),
		"an invalid subject":     inject("-ERR 'Invalid Subject'"),
		"an error of the future": inject("-ERR 'Something that nobody knows yet'"),
		"no sense":               inject("NONSENSE"),
		"reset":                  func(_ *testing.T, p parts) { p.proxy.cut() },
		"nats.go gives up":       func(_ *testing.T, p parts) { p.q.nc().Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var p parts
			s := externalStore(t)
			address := strings.TrimPrefix(s.config.External.URLs[0], "nats://")
			if slices.Contains(alone, name) {
				p.server = newNATSServer(t)
				p.server.configure(t, "")
				require.NoError(t, p.server.start())
				address = p.server.addr
				s.config.External.User, s.config.External.Password = "push", "secret"
			}
			p.proxy = newNATSProxy(t, address)
			s.config.External.URLs = []string{p.proxy.url()}
			p.q = s.open(t, "a")
			acceptSoon(t, p.q, numbered(0))
			table := p.q.Table("t")
			reader := p.q.NewReader("a")
			require.NoError(t, next(t, reader).Ack())

			closes(t, p)
			goesOn(t, p.q, table, reader)
		})
	}
}

// The same of the store in this process, where the connection has no network.
func TestEmbeddedConnectionComesBack(t *testing.T) {
	t.Parallel()
	for name, closes := range map[string]func(*testing.T, *Queue){
		"a control line that is too long": func(_ *testing.T, q *Queue) {
			_ = q.nc().Publish(strings.Repeat("long", 2000), nil)
		},
		"a subject to subscribe to that is too long": func(_ *testing.T, q *Queue) {
			_, _ = q.nc().SubscribeSync(strings.Repeat("long", 2000))
		},
		"a key that is too long": func(t *testing.T, q *Queue) {
			_, _ = q.Table("t").Put(t.Context(), Key{strings.Repeat("long", 1000)}, nil)
		},
		"nats.go gives up": func(_ *testing.T, q *Queue) { q.nc().Close() },
		"the server ends it": func(t *testing.T, q *Queue) {
			id, err := q.nc().GetClientID()
			require.NoError(t, err)
			require.NoError(t, q.server.server.Load().DisconnectClientByID(id))
		},
		"the server is shut down":   func(_ *testing.T, q *Queue) { q.server.server.Load().Shutdown() },
		"JetStream is switched off": func(t *testing.T, q *Queue) { require.NoError(t, q.server.server.Load().DisableJetStream()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := embeddedStore(t)
			q := s.open(t, "a")
			accept(t, q, numbered(0))
			table := q.Table("t")
			reader := q.NewReader("a")
			require.NoError(t, next(t, reader).Ack())
			closes(t, q)
			goesOn(t, q, table, reader)
		})
	}
}

// A reload opens a connection that was given up as well: it is not refused.
func TestReloadOpensConnection(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		acceptSoon(t, q, numbered(0))
		for n := range 20 {
			q.nc().Close()
			cfg := s.config
			cfg.MaxBytes = int64(64+n) << 20
			require.NoError(t, q.Reconcile(t.Context(), cfg))
			release, err := q.Use(t.Context(), []string{"a"})
			require.NoError(t, err)
			release()
		}
		acceptSoon(t, q, numbered(1))
	})
}

// goesOn requires that the queue, its table and its reader work again.
func goesOn(t *testing.T, q *Queue, table *Table, reader *Reader) {
	t.Helper()
	for n := 1; n < 4; n++ { // also after a moment in which it still seemed well
		acceptSoon(t, q, numbered(n))
		require.Eventually(t, func() bool {
			_, err := table.Put(t.Context(), Key{"key"}, []byte("value"))
			return err == nil
		}, patience, 10*time.Millisecond)
	}
	got := make(map[int]bool)
	require.Eventually(t, func() bool {
		groups, _ := reader.Take(t.Context(), 10, 1<<30)
		for _, g := range groups {
			for _, r := range g.Records {
				got[numberOf(r)] = true
			}
			_ = g.Ack()
		}
		return got[1] && got[2] && got[3]
	}, patience, 10*time.Millisecond)
}

// configure writes the configuration of the server, which knows the user push
// unless config says another.
func (p *natsProcess) configure(t *testing.T, config string) {
	t.Helper()
	if !strings.Contains(config, "authorization") {
		config += "\nauthorization { users: [{ user: \"push\", password: \"secret\" }] }"
	}
	file := filepath.Join(p.dir, "nats.conf")
	require.NoError(t, os.WriteFile(file, []byte(config+"\n"), 0o600))
	p.options = []string{"-c", file}
}
