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
	"net/netip"
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
var lasts = flag.Duration("attack", time.Second, "how long each attack lasts that has no other end")

// long is from when on an attack is whole: there is time for all of its parts,
// and for enough samples for a percentage.
const long = 30 * time.Second

func isLong() bool { return *lasts >= long }

// atOnce is how many attacks go on side by side. They mostly wait.
const atOnce = "4"

func TestMain(m *testing.M) {
	flag.Parse()
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == "test.parallel" })
	switch {
	case set:
	case isLong(): // for the figures
		_ = flag.Set("test.parallel", "1")
	default:
		_ = flag.Set("test.parallel", atOnce)
	}
	m.Run()
}

// patience is how long a test waits for what must happen, on a busy machine.
const patience = time.Minute

const notifyPath = "/preliminary/http-notify/v1/notify"

func freeAddress(t *testing.T) string {
	t.Helper()
	address, err := freeport.Address()
	require.NoError(t, err)
	return address
}

func splitAddress(t *testing.T, address string) (host string, port int) {
	t.Helper()
	addr, err := netip.ParseAddrPort(address)
	require.NoError(t, err)
	return addr.Addr().String(), int(addr.Port())
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

// attackers call attempt from many goroutines for some time, and return how often
// that was.
func attackers(goroutines int, lasts time.Duration, attempt func(n, i int)) int64 {
	var attempts atomic.Int64
	var wg sync.WaitGroup
	end := time.Now().Add(lasts)
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

// notification reports a mail in a folder of its own: devices get those of one
// folder together.
func notification(user string, uid int) string {
	return fmt.Sprintf(`{"user":%q,"event":"messageNew","folder":"Folder %d","imap-uidvalidity":1,"imap-uid":%d}`, user, uid, uid)
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
