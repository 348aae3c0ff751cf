// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"context"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

// Reloads under load: every request is answered with 200, everything arrives,
// and nothing arrives twice.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	f := startFront(t, ox.addr)
	// Other settings of the same queue, among them one that opens it again.
	others := []string{
		f.config,
		strings.Replace(f.config, "queue embedded {", "queue embedded {\nmax_bytes 2GiB", 1),
		strings.Replace(f.config, "queue embedded {", "queue embedded {\nsync 1s", 1),
	}
	s := newSender(f.http)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.run(ctx, 16)
	}()
	for i := range 9 {
		time.Sleep(200 * time.Millisecond)
		begin := time.Now()
		require.NoError(t, f.Reload(others[(i+1)%len(others)]), f.Log())
		t.Logf("reload %d took %v", i+1, time.Since(begin).Round(time.Millisecond))
	}
	time.Sleep(200 * time.Millisecond)
	cancel()
	<-done
	assert.Zero(t, s.failed.Load(), "requests that were not answered with 200, such as %q", s.failures)
	require.Positive(t, s.count())

	var missing, again int
	assert.Eventually(t, func() bool {
		missing, again = s.missing(decode(t, ox.got()))
		return missing == 0
	}, waitTimeout, 100*time.Millisecond)
	assert.Zero(t, missing, "acknowledged and lost")
	assert.Zero(t, again, "delivered twice")
	t.Logf("9 reloads: %d acknowledged", s.count())
}

// A configuration that does not load leaves everything as it was.
func TestBadReload(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	f := startFront(t, ox.addr)
	for what, config := range map[string]string{
		"empty secret":   strings.Replace(f.config, "{env.NOTIFY_PASSWORD}", "{env.NO_SUCH_VARIABLE}", 1),
		"literal secret": strings.Replace(f.config, "{env.NOTIFY_PASSWORD}", "swordfish", 1),
		"unknown option": strings.Replace(f.config, "allow private_ranges", "alow private_ranges", 1),
		"bad network":    strings.Replace(f.config, "allow private_ranges", "allow 10.0.0.0/33", 1),
		"no credentials": strings.Replace(f.config, "credentials dovecot {env.NOTIFY_PASSWORD}", "", 1),
		"port in use":    strings.Replace(f.config, "http://"+f.http, "http://"+ox.addr, 1),
		"no proxy":       strings.Replace(f.config, "reverse_proxy "+ox.addr, "", 1),
		"unusable queue": strings.Replace(f.config, "queue embedded {", "queue embedded {\npath /proc/nowhere", 1),
	} {
		err := f.Reload(config)
		require.Error(t, err, what)
		assert.NotContains(t, err.Error(), "swordfish")
	}
	for uid := range 3 {
		taken(t, f.http, notification(uint32(uid+1)))
	}
	ox.wait(3)
}

func TestValidateTouchesNothing(t *testing.T) {
	t.Parallel()
	f := newFront(t, "127.0.0.1:1")
	require.NoError(t, writeFile(f.Dir, "to-validate", f.config))
	before := files(t, f.Dir)
	out, err := f.Command("validate", "--config", filepath.Join(f.Dir, "to-validate"), "--adapter", "caddyfile")
	require.NoError(t, err, out)
	for _, path := range files(t, f.Dir) {
		// Caddy itself makes the internal CA while it validates.
		if !strings.Contains(path, "pki") && !strings.HasSuffix(path, "data") && !strings.HasSuffix(path, "data/caddy") {
			assert.Contains(t, before, path, "made by caddy validate")
		}
	}
}

func TestTwoProcessesOnOneDirectory(t *testing.T) {
	t.Parallel()
	shared := t.TempDir()
	first := startFront(t, "127.0.0.1:1", "QUEUE", "path "+shared)
	second := newFront(t, "127.0.0.1:1", "QUEUE", "path "+shared)
	require.Error(t, second.Run(second.config))
	assert.Contains(t, second.Log(), "in use by another process")
	taken(t, first.http, notification(1))
}

func TestModulesAreListed(t *testing.T) {
	t.Parallel()
	c := caddytestkit.New(t)
	out, err := c.Command("list-modules")
	require.NoError(t, err)
	for _, id := range []string{"dovecot_push", "dovecot_push.targets.middleware", "http.handlers.dovecot_push_api", "http.handlers.dovecot_push_guard", "http.handlers.dovecot_push_notify"} {
		assert.Contains(t, strings.Fields(out), id)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		all = append(all, path)
		return err
	}))
	return all
}
