// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

func statusText(t *testing.T, s *adminapi.Status) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, (&client{out: &out}).printStatus(s))
	return out.String()
}

func TestStatusText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ago := func(d time.Duration) *time.Time {
			at := time.Now().Add(-d)
			return &at
		}
		streams := 3
		s := &adminapi.Status{
			Version:   adminapi.Version{Module: "v0.1.0", Caddy: "v2.11.9", Go: "go1.26.8"},
			Since:     time.Now(),
			Endpoints: []adminapi.EndpointStatus{{Listen: []string{":8009"}, Path: "/notify"}},
			Requests:  map[string]uint64{"accepted": 5, "duplicate": 1},
			Queue:     adminapi.QueueStatus{Up: true, Notifications: 2, Bytes: 1024, MaxBytes: 1 << 30, Oldest: ago(90 * time.Second)},
			Targets: []adminapi.TargetStatus{
				{
					Name: "middleware", Waiting: 2, Oldest: ago(90 * time.Second), Attempts: map[string]uint64{"delivered": 3, "try_again": 4},
					LastFailure: &adminapi.TargetFailure{Time: *ago(3 * time.Second), Reason: "status_401", Error: "the middleware answers 401 Unauthorized"},
				},
				{Name: "webpush", Up: true},
			},
			DoveAdm: []adminapi.DoveAdmStatus{{Endpoint: "imap1:8080", Up: true}, {Endpoint: "imap2:8080", Error: "no answer", Since: ago(time.Minute)}},
			Registration: &adminapi.RegistrationStatus{
				Users: "all", Via: "doveadm", Up: true,
				Pass: &adminapi.RegistrationPass{
					Started: time.Now().Add(-time.Hour), Ended: time.Now().Add(-time.Hour + 3*time.Second), Users: 12, Done: 12,
					States: map[string]int{"registered": 10, "failed": 2},
				},
			},
			Devices: &adminapi.DevicesStatus{Confirmed: 7, Unconfirmed: 1},
			Streams: &streams,
		}
		assert.Equal(t, strings.Join([]string{
			"caddy-dovecot-push v0.1.0, Caddy v2.11.9, go1.26.8",
			"notifications since " + time.Now().Local().Format(time.DateTime),
			"  endpoint :8009 /notify",
			"  accepted 5, duplicate 1",
			"queue takes notifications",
			"  2 waiting, 1.0 KiB of 1.0 GiB",
			"  the oldest for 1m30s",
			"doveadm imap1:8080 in service",
			"doveadm imap2:8080 OUT OF SERVICE for 1m0s: no answer",
			"registration all via doveadm works",
			"  the last pass looked at 12 users in 3s: failed 2, registered 10",
			"devices 7, and 1 unconfirmed",
			"event streams 3",
			"",
			"target      state  delivered  failed  in flight  waiting  parked  dead letters  oldest",
			"middleware  DOWN   3          4       0          2        0       0             1m30s",
			"webpush     up     0          0       0          0        0       0             -",
			"  middleware: the last attempt, 3s ago, failed: the middleware answers 401 Unauthorized",
			"",
		}, "\n"), statusText(t, s))

		s.Registration.Up, s.Registration.Error = false, "the API secret is wrong"
		s.Registration.Pass = &adminapi.RegistrationPass{Started: time.Now().Add(-time.Minute), Users: 12, Done: 4}
		assert.Contains(t, statusText(t, s), "registration all via doveadm DOES NOT WORK: the API secret is wrong\n"+
			"  a pass has looked at 4 of 12 users for 1m0s\n")
		s.Registration.Pass.Ended, s.Registration.Pass.Error = time.Now(), "no endpoint"
		assert.Contains(t, statusText(t, s), "  the last pass ended after 4 of 12 users: no endpoint\n")

		text := statusText(t, new(adminapi.Status))
		for _, absent := range []string{"registration", "devices", "streams"} {
			assert.NotContains(t, text, absent)
		}
	})
}

// Watching goes on while Caddy does not answer, and writes nothing for a screen
// where there is none.
func TestWatchStatus(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		asked := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, "/dovecot_push/status", r.URL.Path)
			switch asked++; asked {
			case 1:
				w.WriteHeader(http.StatusServiceUnavailable)
				_, _ = w.Write([]byte(`{"error":"it is still starting"}`))
			case 2:
				_, _ = w.Write([]byte(`{"queue":{"up":true}}`))
			default:
				cancel()
				_, _ = w.Write([]byte(`{"queue":{"error":"the disk is full"}}`))
			}
		}))
		var out bytes.Buffer
		c := &client{address: server.Listener.Addr().String(), out: &out, json: asJSON}
		require.NoError(t, c.watchStatus(ctx, 20*time.Millisecond))
		server.Close()
		cancel()
		assert.Equal(t, 3, asked)
		assert.Contains(t, out.String(), "it is still starting")
		assert.Contains(t, out.String(), "the disk is full")
		assert.NotContains(t, out.String(), "\x1b")
	}
}
