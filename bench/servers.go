// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

const (
	username = "dovecot"
	password = "bench-secret"
)

// server is a running Caddy and the address of the port that is measured.
type server struct {
	*caddytestkit.Caddy
	address string
}

// bench runs the parts; what they started ends with close.
type bench struct {
	binary  string
	dir     string
	started []*caddytestkit.Caddy
	closers []io.Closer
	// sweepMemory is what the last sweep of the part catchup took, in MiB.
	sweepMemory float64
}

func (b *bench) close() {
	for _, c := range b.started {
		c.Kill()
	}
	for _, c := range b.closers {
		c.Close()
	}
}

// caddy starts a Caddy. %ADDR% in the Caddyfile is the address to measure; env is
// added to the environment, as NAME=value.
func (b *bench) caddy(binary, caddyfile string, env ...string) (*server, error) {
	dir, err := os.MkdirTemp(b.dir, "caddy")
	if err != nil {
		return nil, err
	}
	c, err := caddytestkit.Prepare(binary, dir, append(env, "NOTIFY_PASSWORD="+password)...)
	if err != nil {
		return nil, err
	}
	address, err := freeport.Address()
	if err != nil {
		return nil, err
	}
	b.started = append(b.started, c)
	if err := c.Run(strings.ReplaceAll(caddyfile, "%ADDR%", address)); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, c.Log())
	}
	return &server{c, address}, nil
}

// drained waits until nothing is left in the queue.
func (s *server) drained() error {
	for range 600 {
		metrics, err := s.Metrics()
		if err != nil {
			return err
		}
		if strings.Contains(metrics, "\ncaddy_dovecot_push_queue_notifications 0\n") {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("the queue did not get empty within a minute")
}

// registered waits until that many users are registered.
func (s *server) registered(users int) error {
	want := fmt.Sprintf("\ncaddy_dovecot_push_registration_users{state=\"registered\"} %d\n", users)
	for range 3000 {
		metrics, err := s.Metrics()
		if err != nil {
			return err
		}
		if strings.Contains(metrics, want) {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return fmt.Errorf("%d users were not registered within five minutes", users)
}

// stop ends a Caddy and removes its data.
func (b *bench) stop(s *server) {
	s.Kill()
	os.RemoveAll(s.Dir)
}

// queueBytes is more than any part stores.
const queueBytes = 8 << 30

const logOff = "log {\nlevel ERROR\n}\n"

// respond is Caddy answering 200 to everything: the most it can do.
const respond = "{\n" + logOff + "}\nhttp://%ADDR% {\nrespond 200\n}\n"

// proxied is what Caddy alone offers in the place of Apache: source addresses,
// Basic credentials, and the middleware answers.
func proxied(middleware, hash string) string {
	return fmt.Sprintf(`{
	%s}
http://%%ADDR%% {
	@mail remote_ip 127.0.0.0/8 10.0.0.0/8
	handle @mail {
		basic_auth {
			%s %s
		}
		reverse_proxy %s
	}
	respond 403
}
`, logOff, username, hash, middleware)
}

// accepting is this module. An empty middleware means no target.
func accepting(middleware, queue string) string {
	if middleware == "" {
		return delivering("", queue)
	}
	return delivering("deliver middleware {\nreverse_proxy "+middleware+"\n}\n", queue)
}

// posting is this module with a webhook for each of the addresses, named w0,
// w1, and so on.
func posting(queue string, addresses ...string) string {
	var targets strings.Builder
	for i, address := range addresses {
		fmt.Fprintf(&targets, "deliver webhook w%d http://%s/hook\n", i, address)
	}
	return delivering(targets.String(), queue)
}

// delivering is this module with any targets.
func delivering(targets, queue string) string {
	return fmt.Sprintf(`{
	%s
	dovecot_push {
		queue embedded {
			max_bytes %d
			%s
		}
		%s
	}
}
http://%%ADDR%% {
	dovecot_push_notify {
		allow 127.0.0.0/8 10.0.0.0/8
		credentials %s {env.NOTIFY_PASSWORD}
	}
}
`, logOff, queueBytes, queue, targets, username)
}

// internalTLS makes a Caddyfile serve HTTPS with a certificate of Caddy's
// internal CA.
func internalTLS(caddyfile string) string {
	caddyfile = strings.Replace(caddyfile, "{\n", "{\nauto_https disable_redirects\nskip_install_trust\n", 1)
	return strings.Replace(caddyfile, "http://%ADDR% {\n", "https://%ADDR% {\ntls internal\n", 1)
}
