// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"bufio"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/rawhttp"
)

// Everything that happens is counted, and counters survive a reload. What a
// mail says, and whose it is, is in no log line and no metric, at any level.
func TestMetricsAndLog(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	f := newFront(t, ox.addr)
	f.config = strings.Replace(f.config, "skip_install_trust", "skip_install_trust\nlog {\nlevel DEBUG\n}", 1)
	f.start(t)

	// A series that appears with its first event has no increase to Prometheus.
	before, err := f.Metrics()
	require.NoError(t, err)
	for _, zero := range []string{
		`notify_requests_total{result="accepted"}`, `notify_requests_total{result="unauthorized"}`, `notify_requests_total{result="queue_full"}`,
		`guard_refused_total{reason="forbidden"}`, `queue_commit_errors_total{reason="unavailable"}`,
	} {
		assert.Contains(t, before, "caddy_dovecot_push_"+zero+" 0\n")
	}

	require.Eventually(t, func() bool { return strings.Contains(f.Log(), `"msg":"started","version":"`) }, waitTimeout, 10*time.Millisecond)
	assert.Regexp(t, `"endpoints":\["[^"]+ `+notifyPath+`"`, f.Log())
	assert.Contains(t, f.Log(), `"targets":["middleware"],"queue":"`+f.QueueDir()+`","waiting":0}`)
	assert.Contains(t, before, `caddy_dovecot_push_build_info{caddy="`)
	out, err := f.Command("dovecot-push", "version")
	require.NoError(t, err, out)
	assert.Regexp(t, `^caddy-dovecot-push \S+, Caddy v2\.11\.9, go1\.`, out)

	const secretly = "Vertraulich-4711"
	body := strings.Replace(notification(7), "number 7", secretly, 1)
	for range 2 {
		status, _, err := put(http.DefaultClient, f.http, body)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	}
	for bad, want := range map[string]int{
		strings.Replace(body, `"imap-uid":7,`, "", 1): http.StatusBadRequest,
		strings.Replace(body, `:7,`, `:"seven",`, 1):  http.StatusBadRequest,
		secretly: http.StatusBadRequest,
		strings.Replace(body, "messageNew", "flagsSet", 1): http.StatusOK,
	} {
		status, answer, err := put(http.DefaultClient, f.http, bad)
		require.NoError(t, err)
		assert.Equal(t, want, status)
		assert.NotContains(t, answer, secretly)
	}
	resp, err := http.Get("http://" + f.http + notifyPath) // without credentials
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	ox.wait(1)
	require.NoError(t, f.Reload(f.config+"\n# changed\n"))

	var metrics string
	for _, want := range []string{
		`notify_requests_total{result="accepted"} 1`,
		`notify_requests_total{result="duplicate"} 1`,
		`notify_requests_total{result="bad_field"} 2`,
		`notify_requests_total{result="bad_json"} 1`,
		`notify_requests_total{result="unused_event"} 1`,
		`notify_requests_total{result="unauthorized"} 1`,
		`notify_duration_seconds_count 7`,
		`queue_commit_notifications_sum 1`,
		`queue_notifications 0`,
		`queue_up 1`,
		`queue_oldest_age_seconds 0`,
		`delivery_attempts_total{outcome="delivered",target="middleware"} 1`,
		`delivery_latency_seconds_count{target="middleware"} 1`,
		`target_up{target="middleware"} 1`,
		`target_waiting{target="middleware"} 0`,
	} {
		assert.Eventually(t, func() bool {
			metrics, err = f.Metrics()
			return err == nil && strings.Contains(metrics, "caddy_dovecot_push_"+want)
		}, waitTimeout, 50*time.Millisecond, want)
	}
	f.Stop()
	assert.Contains(t, f.Log(), `"accepted":1,"duplicates":1,`, "counted facts")
	for _, word := range []string{secretly, "somebody@example.com", "alice@example.net", notifyPassword, oxPassword} {
		assert.NotContains(t, f.Log(), word)
		assert.NotContains(t, metrics, word)
	}
}

// The page about metrics names those that exist, and only those.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	f := startFront(t, ox.addr)
	ox.mu.Lock()
	ox.status = http.StatusBadRequest
	ox.mu.Unlock()
	_, _, err := put(http.DefaultClient, f.http, notification(1))
	require.NoError(t, err)
	rawhttp.Get1(t, f.http, notifyPath+"/x")

	name := regexp.MustCompile(`caddy_dovecot_push_[a-z_]+`)
	page, err := os.ReadFile(filepath.Join(caddytestkit.Repository(), "docs", "metrics.md"))
	require.NoError(t, err)
	documented := make(map[string]bool)
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "| `caddy_") {
			documented[name.FindString(line)] = true
		}
	}
	// Metrics with labels appear when they are counted for the first time.
	var existing map[string]bool
	assert.Eventually(t, func() bool {
		existing = make(map[string]bool)
		metrics, err := f.Metrics()
		require.NoError(t, err)
		for lines := bufio.NewScanner(strings.NewReader(metrics)); lines.Scan(); {
			if kind, ok := strings.CutPrefix(lines.Text(), "# TYPE "); ok && strings.HasPrefix(kind, "caddy_dovecot_push_") {
				existing[strings.Fields(kind)[0]] = true
			}
		}
		return existing["caddy_dovecot_push_dead_letters_total"]
	}, waitTimeout, 100*time.Millisecond)
	for m := range existing {
		assert.True(t, documented[m], "%s is not in docs/metrics.md", m)
	}
	seldom := map[string]bool{ // need a failure, a device, an action, a removed target or a sign-in that this test does not make
		"caddy_dovecot_push_actions_total":  true,
		"caddy_dovecot_push_sign_ins_total": true, "caddy_dovecot_push_streams_ended_total": true,
		"caddy_dovecot_push_devices": true, "caddy_dovecot_push_subscriptions": true, "caddy_dovecot_push_subscription_requests_total": true,
		"caddy_dovecot_push_delivery_failures_total": true, "caddy_dovecot_push_delivery_latency_seconds": true,
		"caddy_dovecot_push_delivery_coalesced_total": true, "caddy_dovecot_push_delivery_silenced_total": true, "caddy_dovecot_push_delivery_retries_total": true,
		"caddy_dovecot_push_middleware_unknown_users_total": true, "caddy_dovecot_push_queue_removed_target_notifications": true,
	}
	for m := range documented {
		ofRegistrar := strings.HasPrefix(m, "caddy_dovecot_push_doveadm_") || strings.HasPrefix(m, "caddy_dovecot_push_registration_") ||
			strings.HasPrefix(m, "caddy_dovecot_push_catch_up_")
		assert.True(t, existing[m] || seldom[m] || ofRegistrar, "%s is in docs/metrics.md and does not exist", m)
	}
}
