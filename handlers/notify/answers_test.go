// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Every answer, over a connection that can be used again after it: Dovecot
// keeps one open per process.
func TestAnswers(t *testing.T) {
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	method := func(m string) func(*http.Request) { return func(r *http.Request) { r.Method = m } }
	without := func(member string) string { return strings.Replace(body, `"`+member+`"`, `"x"`, 1) }
	tests := []struct {
		name   string
		body   string
		change func(*http.Request)
		fail   error // what the queue fails with
		dup    bool

		status  int
		result  Result
		field   string
		headers map[string]string
	}{
		{name: "accepted", status: 200, result: Accepted},
		{name: "duplicate", dup: true, status: 200, result: Duplicate},
		{name: "unused event", body: strings.Replace(body, "messageNew", "messageRead", 1), status: 200, result: UnusedEvent},
		{name: "media type alone", change: header("Content-Type", "application/json"), status: 200, result: Accepted},
		{name: "media type in other letters", change: header("Content-Type", "Application/JSON ; foo=bar"), status: 200, result: Accepted},

		{name: "no credentials", change: header("Authorization", ""), status: 401, result: Unauthorized},
		{name: "wrong credentials", change: func(r *http.Request) { r.SetBasicAuth("dovecot", "wrong") }, status: 401, result: Unauthorized},
		{name: "wrong credentials and method", change: func(r *http.Request) { r.Method = "GET"; r.SetBasicAuth("x", "y") }, status: 401, result: Unauthorized},
		{name: "POST", change: method("POST"), status: 405, result: Method},
		{name: "GET", change: method("GET"), status: 405, result: Method},
		{name: "put in small letters", change: method("put"), status: 405, result: Method},
		{name: "no media type", change: func(r *http.Request) { r.Header.Del("Content-Type") }, status: 415, result: MediaType},
		{name: "other media type", change: header("Content-Type", "text/plain"), status: 415, result: MediaType},
		{name: "media type that begins alike", change: header("Content-Type", "application/json-seq"), status: 415, result: MediaType},

		{name: "empty", body: " ", status: 400, result: BadJSON},
		{name: "not JSON", body: "user=bob", status: 400, result: BadJSON},
		{name: "cut JSON", body: body[:len(body)-1], status: 400, result: BadJSON},
		{name: "more than one", body: body + body, status: 400, result: BadJSON},
		{name: "no user", body: without("user"), status: 400, result: BadField, field: "user"},
		{name: "no folder", body: without("folder"), status: 400, result: BadField, field: "folder"},
		{name: "no UID", body: without("imap-uid"), status: 400, result: BadField, field: "imap-uid"},
		{name: "UID as text", body: strings.Replace(body, `"imap-uid":1`, `"imap-uid":"1"`, 1), status: 400, result: BadField, field: "imap-uid"},

		{name: "queue full", fail: fmt.Errorf("storing: %w", queue.ErrFull), status: 503, result: QueueFull},
		{name: "queue unavailable", fail: fmt.Errorf("storing: %w", queue.ErrUnavailable), status: 503, result: QueueUnavailable},
		{name: "durability", fail: fmt.Errorf("storing: %w: %w", queue.ErrUnavailable, queue.ErrDurability), status: 503, result: QueueUnavailable},
		{name: "queue closed", fail: queue.ErrClosed, status: 503, result: QueueUnavailable},
		{name: "unknown error", fail: errors.New("unknown"), status: 503, result: QueueUnavailable},
		{name: "too large for the queue", fail: fmt.Errorf("storing: %w", queue.ErrTooLarge), status: 413, result: TooLarge},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := serve(t, nil)
			c := client(t)
			if tt.body == "" {
				tt.body = body
			}
			request := put(tt.body)
			if tt.change != nil {
				tt.change(request)
			}
			e.store.err, e.store.duplicate = tt.fail, tt.dup
			got := e.send(t, c, request)

			require.Equal(t, tt.status, got.status, got.body)
			require.Equal(t, tt.result, e.result(t))
			require.Equal(t, "application/json", got.header.Get("Content-Type"))
			require.Equal(t, strconv.Itoa(len(got.body)), got.header.Get("Content-Length"))
			require.NotEmpty(t, got.header.Get("Date"), "Dovecot needs it beside Retry-After")
			want := map[int]map[string]string{
				401: {"Www-Authenticate": `Basic realm="dovecot_push", charset="UTF-8"`},
				405: {"Allow": "PUT"},
				503: {"Retry-After": "1"},
			}[tt.status]
			for _, name := range []string{"Www-Authenticate", "Allow", "Retry-After"} {
				require.Equal(t, want[name], got.header.Get(name), name)
			}
			if tt.status == 200 {
				require.Equal(t, `{"success":true}`, got.body)
			} else {
				_, field := problem(t, got.body)
				require.Equal(t, tt.field, field)
			}
			if tt.result == Accepted {
				require.Equal(t, tt.body, string(e.store.records[0].Body))
			} else if !tt.dup {
				require.Empty(t, e.store.records)
			}
			for _, word := range private {
				require.NotContains(t, got.body, word)
				require.NotContains(t, e.log.String(), word)
			}

			e.store.err = nil
			again := e.send(t, c, put(body))
			require.Equal(t, 200, again.status)
			require.True(t, again.reused, "the connection stays usable")
		})
	}
}

// Results has every constant of its type.
func TestResultsAreComplete(t *testing.T) {
	source, err := os.ReadFile("result.go")
	require.NoError(t, err)
	constants := regexp.MustCompile(`Result = "([a-z_]+)"`).FindAllStringSubmatch(string(source), -1)
	require.Len(t, Results, len(constants))
	for i, c := range constants {
		require.Equal(t, c[1], string(Results[i]))
	}
}

func TestProblemTellsWhatAndWhere(t *testing.T) {
	e := serve(t, nil)
	c := client(t)
	for text, want := range map[string]string{
		`{"event":"messageNew"}`:               "user is missing",
		`{"user":1,"event":"messageNew"}`:      "user must be ",
		`{"user":"bob","event":"messageNew",]`: "the body is not a JSON object: at byte 35: ",
	} {
		message, _ := problem(t, e.send(t, c, put(text)).body)
		require.Contains(t, message, want)
	}
}

func TestThrottled(t *testing.T) {
	e := serve(t, nil)
	c := client(t)
	wrong := func(r *http.Request) { r.SetBasicAuth("dovecot", "wrong") }
	got, looked := e.send(t, c, put(body, wrong)), 0
	for ; got.status == 401 && looked < 100; looked++ { // on a busy machine another one a second
		got = e.send(t, c, put(body, wrong))
	}
	require.GreaterOrEqual(t, looked, 10)
	require.Equal(t, 429, got.status)
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.Empty(t, got.header.Get("WWW-Authenticate"))
	require.Equal(t, Throttled, e.result(t))
	message, _ := problem(t, got.body)
	require.Equal(t, "too many wrong credentials came from this address: wait 1 s", message)

	require.Equal(t, 1, roundUp(1))
	require.Equal(t, 1, roundUp(time.Second))
	require.Equal(t, 2, roundUp(time.Second+1))

	got = e.send(t, c, put(body))
	require.Equal(t, 200, got.status, "the mail server at the same address gets in")
	require.True(t, got.reused)
}

// A handler that was not configured with allowed peers allows nobody.
func TestDefaultIsDeny(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Handler)
		status int
		result Result
	}{
		{"nothing set", func(h *Handler) { h.Credentials = nil }, 403, Unauthorized},
		{"unknown certificate mode", func(h *Handler) { h.ClientCertificate = 9 }, 403, Unauthorized},
		{"unknown certificate mode, unauthenticated", func(h *Handler) { h.ClientCertificate, h.Unauthenticated = 9, true }, 403, Unauthorized},
		{"certificate required", func(h *Handler) { h.ClientCertificate = CertificateRequired }, 403, NoClientCertificate},
		{"certificate sufficient, no credentials", func(h *Handler) { h.Credentials, h.ClientCertificate = nil, CertificateSufficient }, 403, NoClientCertificate},
		{"certificate required, unauthenticated", func(h *Handler) {
			h.Credentials, h.ClientCertificate, h.Unauthenticated = nil, CertificateRequired, true
		}, 403, NoClientCertificate},
		{"credentials and unauthenticated", func(h *Handler) { h.Unauthenticated = true }, 401, Unauthorized},
		{"unauthenticated", func(h *Handler) { h.Credentials, h.Unauthenticated = nil, true }, 200, Accepted},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := serve(t, tt.change)
			got := e.send(t, client(t), put(body, func(r *http.Request) { r.Header.Del("Authorization") }))
			require.Equal(t, tt.status, got.status)
			require.Equal(t, tt.result, e.result(t))
			if tt.status != 200 {
				problem(t, got.body)
				require.Empty(t, e.store.records)
			}
		})
	}
}
