// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package attack holds the module to what docs/security.md promises, the way
// somebody would who wants to stop it, outgrow it or guess through it. It has
// tests only. They attack a real Caddy and a real Dovecot on this machine, for
// a time that is bounded: short in "make test", longer in "make attack".
package attack

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// lasts is how long each flood and each attempt to grow something lasts.
var lasts = flag.Duration("attack", 3*time.Second, "how long each attack lasts that has no other end")

// patience is how long a test waits for what must happen, on a busy machine.
const patience = time.Minute

const notifyPath = "/preliminary/http-notify/v1/notify"

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address()
	require.NoError(t, err)
	return address
}

// clientFrom returns a client whose connections come from a loopback address.
func clientFrom(t *testing.T, address string, timeout time.Duration) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 256}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: timeout}
}

// unixClient returns a client of a Unix socket.
func unixClient(t *testing.T, socket string) *http.Client {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

// do makes a request; one that gets no answer has the status 0.
func do(client *http.Client, method, url, body string, change ...func(*http.Request)) answer {
	r, err := http.NewRequestWithContext(context.Background(), method, url, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(r)
	}
	resp, err := client.Do(r)
	if err != nil {
		return answer{}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

func basic(username, password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth(username, password) }
}

// attackers call attempt from many goroutines for as long as the flood lasts,
// and return how often that was.
func attackers(goroutines int, attempt func(n, i int)) int64 {
	var attempts atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(*lasts)
	for n := range goroutines {
		wg.Go(func() {
			for i := 0; time.Now().Before(end); i++ {
				attempt(n, i)
				attempts.Add(1)
			}
		})
	}
	wg.Wait()
	return attempts.Load()
}

func notification(user string, uid int) string {
	return fmt.Sprintf(`{"user":%q,"event":"messageNew","folder":"INBOX","imap-uidvalidity":1,"imap-uid":%d}`, user, uid)
}

// goroutines counts the goroutines of a Caddy that are in a function.
func goroutines(t *testing.T, c *caddytestkit.Caddy, function string) int {
	t.Helper()
	resp, err := http.Get("http://" + c.Admin + "/debug/pprof/goroutine?debug=2")
	require.NoError(t, err)
	defer resp.Body.Close()
	dump, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return bytes.Count(dump, []byte(function+"("))
}
