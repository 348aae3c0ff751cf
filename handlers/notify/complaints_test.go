// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// lines returns what was logged.
func (e *endpoint) lines(t *testing.T) (lines []map[string]any) {
	for text := range strings.Lines(e.log.String()) {
		var line map[string]any
		require.NoError(t, json.Unmarshal([]byte(text), &line))
		lines = append(lines, line)
	}
	return lines
}

func TestComplaintsAreSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := handler(t, nil)
		send := func(remote string, r *http.Request) {
			r.RemoteAddr = remote
			e.ServeHTTP(httptest.NewRecorder(), r)
		}
		for range 5 {
			send("192.0.2.1:1000", put("{"))
		}
		send("192.0.2.1:1001", put("{}", func(r *http.Request) { r.Method = "POST" }))
		send("192.0.2.2:1000", put("{"))
		lines := e.lines(t)
		require.Len(t, lines, 3)
		for _, line := range lines {
			require.Equal(t, "WARN", line["level"])
			require.Equal(t, "refused a notification", line["msg"])
			require.NotEmpty(t, line["problem"])
			require.Zero(t, line["not_logged_since"])
		}
		require.Equal(t, "bad_json", lines[0]["reason"])
		require.Equal(t, "192.0.2.1", lines[0]["remote"])
		require.Equal(t, "method", lines[1]["reason"])
		require.Equal(t, "192.0.2.2", lines[2]["remote"])

		time.Sleep(complaintLimit.Interval)
		send("192.0.2.1:1002", put("{"))
		lines = e.lines(t)
		require.Len(t, lines, 4)
		require.EqualValues(t, 4, lines[3]["not_logged_since"])

		time.Sleep(complaintLimit.Interval)
		send("192.0.2.1:1003", put("{"))
		require.EqualValues(t, 0, e.lines(t)[4]["not_logged_since"])
	})
}

func TestAcceptedIsLoggedAtDebugOnly(t *testing.T) {
	e := handler(t, nil)
	e.ServeHTTP(httptest.NewRecorder(), put(body))
	require.Len(t, e.lines(t), 1)
	require.Equal(t, "DEBUG", e.lines(t)[0]["level"])

	e = handler(t, nil)
	e.Logger = slog.New(slog.NewJSONHandler(e.log, nil))
	e.ServeHTTP(httptest.NewRecorder(), put(body))
	require.Empty(t, e.lines(t))
}

func TestLevels(t *testing.T) {
	require.Equal(t, slog.LevelInfo, level(BodyTimeout))
	require.Equal(t, slog.LevelInfo, level(BodyCut))
	for _, r := range []Result{Unauthorized, NoClientCertificate, BadField, QueueFull} {
		require.Equal(t, slog.LevelWarn, level(r))
	}
}

func TestFailureOfTheQueueIsLogged(t *testing.T) {
	e := handler(t, nil)
	e.store.err = errors.New("disk on fire")
	e.ServeHTTP(httptest.NewRecorder(), put(body))
	require.Equal(t, "disk on fire", e.lines(t)[0]["error"])
}

func TestPeer(t *testing.T) {
	for name, tt := range map[string]struct {
		remote string
		peer   func(*http.Request) (netip.Addr, bool)
		want   string
	}{
		"connection":     {"192.0.2.1:1000", nil, "192.0.2.1"},
		"mapped":         {"[::ffff:192.0.2.1]:1000", nil, "192.0.2.1"},
		"Unix socket":    {"@", nil, ""},
		"told":           {"192.0.2.1:1000", func(*http.Request) (netip.Addr, bool) { return netip.MustParseAddr("2001:db8::1"), true }, "2001:db8::1"},
		"told not known": {"192.0.2.1:1000", func(*http.Request) (netip.Addr, bool) { return netip.IPv6Loopback(), false }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e := handler(t, func(h *Handler) { h.Peer = tt.peer })
			r := put("{")
			r.RemoteAddr = tt.remote
			e.ServeHTTP(httptest.NewRecorder(), r)
			require.Equal(t, tt.want, e.lines(t)[0]["remote"])
		})
	}
}
