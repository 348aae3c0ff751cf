// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// newHeldFront is a front whose sockets the test holds, as systemd does with
// examples/service/caddy.socket.
func newHeldFront(t *testing.T, middleware string) *front {
	t.Helper()
	f := newFront(t, middleware)
	f.config = strings.NewReplacer(
		"https://"+f.https+" {", "https://"+f.https+" {\n\tbind fd/3 {\n\t\tprotocols h1 h2\n\t}",
		"http://"+f.http+" {", "http://"+f.http+" {\n\tbind fd/4 {\n\t\tprotocols h1\n\t}",
	).Replace(f.config)
	require.NoError(t, f.Hold(f.https, f.http))
	return f
}

// restarts are the ways in which a process is replaced by another one.
func (f *front) restarts(t *testing.T) map[string]func() {
	t.Helper()
	other := filepath.Join(t.TempDir(), "caddy")
	copyFile(t, caddytestkit.Binary(t), other)
	again := func() { require.NoError(t, f.Run(f.config), f.Log()) }
	return map[string]func(){
		"restart": func() { f.Stop(); again() },
		"upgrade": func() { f.Upgrade(other); f.Stop(); again() },
		"kill":    func() { f.Kill(); again() },
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	require.NoError(t, err)
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o700)
	require.NoError(t, err)
	_, err = io.Copy(out, in)
	require.NoError(t, err)
	require.NoError(t, out.Close())
}

// Whatever is reported while Caddy is restarted, upgraded or killed waits for the
// next one at the socket that somebody else holds: every request is answered with
// 200, and everything arrives.
func TestHeldSocket(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	f := newHeldFront(t, ox.addr)
	f.start(t)
	for how, restart := range f.restarts(t) {
		s := newSender(f.http)
		s.next.Store(uint32(len(how)) << 24) // the names have different lengths
		s.timeout = waitTimeout
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { s.run(ctx, 8) })
		for range 2 {
			before := s.count()
			require.Eventually(t, func() bool { return s.count() > before+100 }, waitTimeout, 10*time.Millisecond)
			restart()
		}
		before := s.count()
		require.Eventually(t, func() bool { return s.count() > before+100 }, waitTimeout, 10*time.Millisecond)
		cancel()
		wg.Wait()
		assert.Zero(t, s.failed.Load(), "%s: requests that were not answered with 200, such as %q", how, s.failures)
		requireReach(t, s.count(), func() int {
			missing, _ := s.missing(decode(t, ox.got()))
			return s.count() - missing
		}, 100*time.Millisecond)
		t.Logf("%s, twice: %d answered, the slowest after %v", how, s.count(), s.slowest.Round(time.Millisecond))
	}
}

// isDropped reports whether a report was lost in the moment in which a server of Go
// (http.Server.Shutdown) drops requests and still accepts connections, where both of
// Dovecot's attempts may fall on a busy machine.
func isDropped(line string) bool {
	return strings.Contains(line, "failed: EOF") && strings.Contains(line, "1 times retried")
}

// The same with real mails: Dovecot fails to report none of them, over HTTPS, as a rule.
func TestHeldSocketWithDovecot(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		ox := startMiddleware(t)
		f := newHeldFront(t, ox.addr)
		f.start(t)
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: users(4), SSLClientCAFile: f.RootCA(), NoDebugLog: true,
			Drivers: []dovecottest.Driver{{URL: f.url("https"), Timeout: waitTimeout, MaxAttempts: 2}},
		})
		for _, u := range dovecot.Users() {
			require.NoError(t, dovecot.Register(u.Name))
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var sent, slowest atomic.Int64
		for _, u := range dovecot.Users() {
			wg.Go(func() {
				session, err := dovecot.OpenLMTP()
				if !assert.NoError(t, err) {
					return
				}
				defer session.Close()
				for ctx.Err() == nil {
					took, err := session.Deliver("alice@example.net", []string{u.Name}, message("Hello"))
					if !assert.NoError(t, err) {
						return
					}
					sent.Add(1)
					slowest.Store(max(slowest.Load(), took.Milliseconds()))
				}
			})
		}
		lost, dropped := 0, 0
		for how, restart := range f.restarts(t) {
			before := sent.Load()
			require.Eventually(t, func() bool { return sent.Load() > before+20 }, waitTimeout, 10*time.Millisecond)
			restart()
			failed := errorsOf(dovecot)[lost:]
			lost += len(failed)
			if how == "kill" { // Dovecot does not repeat a handshake that was broken off
				failed = slices.DeleteFunc(failed, func(line string) bool { return strings.Contains(line, "SSL handshaking") })
			}
			if how != "kill" {
				before := len(failed)
				failed = slices.DeleteFunc(failed, isDropped)
				dropped += before - len(failed)
			}
			assert.Empty(t, failed, how)
		}
		before := sent.Load()
		require.Eventually(t, func() bool { return sent.Load() > before+20 }, waitTimeout, 10*time.Millisecond)
		cancel()
		wg.Wait()
		assert.LessOrEqual(t, dropped, 1, "no rule")
		assert.LessOrEqual(t, lost, 4, "one for each connection")
		assert.Len(t, errorsOf(dovecot), lost)
		assert.Eventually(t, func() bool {
			reported := make(map[string]bool)
			for _, n := range decode(t, ox.got()) {
				reported[fmt.Sprint(n.User, n.UID)] = true
			}
			return len(reported)+lost >= int(sent.Load())
		}, waitTimeout, 100*time.Millisecond)
		t.Logf("%d mails, of which %d were not reported; the slowest took %d ms", sent.Load(), lost, slowest.Load())
	})
}

// errorsOf are the lines of Dovecot's log about reports that failed.
func errorsOf(dovecot *dovecottest.Server) (lines []string) {
	for line := range strings.Lines(dovecot.Log()) {
		if strings.Contains(line, "Error when sending notification") {
			lines = append(lines, line)
		}
	}
	return lines
}
