// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	tokens "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// watcher is an event handler as another module would bring it along, to react
// to the results of notifications.
type watcher struct{}

var watched = make(chan caddy.Event, 100)

func (watcher) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.watcher", New: func() caddy.Module { return new(watcher) }}
}

func (*watcher) UnmarshalCaddyfile(*tokens.Dispenser) error { return nil }

func (*watcher) Handle(_ context.Context, e caddy.Event) error {
	watched <- e
	return nil
}

var _ caddyevents.Handler = (*watcher)(nil)

func answering(t *testing.T, status int) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	t.Cleanup(s.Close)
	return s.URL
}

// Other modules are notified of the result at each target.
func TestDeliveryEvents(t *testing.T) {
	caddy.RegisterModule(watcher{})
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("NOTIFY_PASSWORD", notifyPassword)
	address := freeAddress(t)
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\nadmin off\npersist_config off\n"+
		"events {\non dovecot_push.delivered watcher\non dovecot_push.dead_letter watcher\non dovecot_push.target_paused watcher\n}\n"+
		"dovecot_push {\ndeliver webhook takes "+answering(t, 204)+"\ndeliver webhook refuses "+answering(t, 400)+"\n"+
		"deliver webhook forbids "+answering(t, 403)+"\n}\n}\n"+
		"http://"+address+" {\ndovecot_push_notify {\nallow 127.0.0.0/8\ncredentials "+notifyUser+" {env.NOTIFY_PASSWORD}\n}\n}\n"), nil)
	require.NoError(t, err)
	require.NoError(t, caddy.Load(adapted, true))
	defer func() { assert.NoError(t, caddy.Stop()) }()
	taken(t, address, notification(1))

	heard := make(map[string]map[string]any)
	for len(heard) < 3 {
		select {
		case e := <-watched:
			heard[fmt.Sprint(e.Name(), " ", e.Data["target"])] = e.Data
		case <-time.After(waitTimeout):
			require.FailNow(t, "not all was heard", "%v", heard)
		}
	}
	delivered, dead, paused := heard["dovecot_push.delivered takes"], heard["dovecot_push.dead_letter refuses"], heard["dovecot_push.target_paused forbids"]
	assert.Equal(t, 1, delivered["attempts"])
	assert.Greater(t, delivered["latency"], 0.0)
	assert.Regexp(t, `^[0-9a-f]{32}$`, delivered["id"])
	assert.Equal(t, delivered["id"], dead["id"])
	assert.Equal(t, "status_400", dead["reason"])
	assert.Equal(t, true, paused["paused"])
	assert.Equal(t, "status_403", paused["reason"])
}

// A webhook that hangs is seen in the metrics, and the one beside it gets
// everything.
func TestHangingWebhookIsSeen(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}))
	defer hangs.Close()
	f := frontWith(t, "deliver webhook hangs "+hangs.URL+" {\ntimeout 10m\n}\ndeliver webhook works "+answering(t, 204)+"\n")
	const notifications = 40 // more than are attempted at once
	for i := range notifications {
		f.notify(t, map[string]any{"imap-uid": i + 1, "user": fmt.Sprintf("user%d@example.com", i)})
	}
	gauge := func(name, target string) float64 {
		metrics, err := f.Metrics()
		require.NoError(t, err)
		m := regexp.MustCompile(`(?m)^caddy_dovecot_push_` + name + `\{target="` + target + `"\} (\S+)$`).FindStringSubmatch(metrics)
		if m == nil {
			return -1
		}
		v, err := strconv.ParseFloat(m[1], 64)
		require.NoError(t, err)
		return v
	}
	reaches := func(name, target string, want float64) {
		t.Helper()
		require.Eventually(t, func() bool { return gauge(name, target) == want }, waitTimeout, 20*time.Millisecond, "%s %s", name, target)
	}
	reaches("delivery_latency_seconds_count", "works", notifications)
	reaches("target_in_flight", "hangs", 32)
	reaches("target_in_flight", "works", 0)
	reaches("target_oldest_age_seconds", "works", 0)
	reaches("target_waiting", "works", 0)
	reaches("target_waiting", "hangs", notifications)
	before := gauge("target_oldest_age_seconds", "hangs")
	require.Positive(t, before)
	require.Eventually(t, func() bool { return gauge("target_oldest_age_seconds", "hangs") > before }, waitTimeout, 20*time.Millisecond)
	close(release)
	reaches("delivery_latency_seconds_count", "hangs", notifications)
	reaches("target_in_flight", "hangs", 0)
	reaches("target_waiting", "hangs", 0)
}
