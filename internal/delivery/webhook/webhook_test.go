// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/targettest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// request is one that a receiver got.
type request struct {
	method, uri string
	header      http.Header
	body        []byte
}

// receiver keeps what it gets and answers with status.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    []request
}

func startReceiver(t testing.TB) *receiver {
	t.Helper()
	r := &receiver{status: http.StatusNoContent}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		assert.NoError(t, err)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got = append(r.got, request{req.Method, req.RequestURI, req.Header, body})
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

// deliver makes one attempt with the notification of the conformance kit and
// returns what arrived.
func deliver(t *testing.T, cfg Config) request {
	t.Helper()
	r := startReceiver(t)
	cfg.URL = r.URL + cfg.URL
	result := newTarget(t, cfg).Deliver(t.Context(), targettest.Record())
	require.Equal(t, delivery.Result{Outcome: delivery.Delivered}, result)
	require.Len(t, r.got, 1)
	return r.got[0]
}

func TestStandardPayload(t *testing.T) {
	for content, want := range map[notification.Content]string{
		notification.Thin:   `"unseen":3}`,
		notification.Sender: `"unseen":3,"from":"Bob <bob@secret.example>","subject":"Secret subject"}`,
		notification.Full:   `"unseen":3,"from":"Bob <bob@secret.example>","subject":"Secret subject","snippet":"Secret snippet"}`,
	} {
		got := deliver(t, Config{URL: "/hook?a=b", Content: content})
		assert.Equal(t, `{"type":"mail.new","timestamp":"2026-11-23T16:56:40.123Z","data":{"user":"alice@example.com","folder":"INBOX","uid":7,`+
			`"uidValidity":1795452971,"event":"messageNew",`+want+`}`, string(got.body))
		assert.Equal(t, http.MethodPost, got.method)
		assert.Equal(t, "/hook?a=b", got.uri)
		assert.Equal(t, http.Header{
			"Content-Type":      {"application/json"},
			"Content-Length":    {got.header.Get("Content-Length")},
			"User-Agent":        {"caddy-dovecot-push"},
			"Webhook-Id":        {targettest.Record().ID.String()},
			"Webhook-Timestamp": {got.header.Get("Webhook-Timestamp")},
		}, got.header)
	}
}

// Of a mail of which nothing is known, nothing is made up.
func TestStandardPayloadOfLittle(t *testing.T) {
	r := startReceiver(t)
	record := &queue.Record{Body: []byte(`{"user":"a\"<b>\u2028","event":"messageNew","folder":"Entwürfe","imap-uidvalidity":0,"imap-uid":0}`)}
	newTarget(t, Config{URL: r.URL, Content: notification.Full}).Deliver(t.Context(), record)
	require.Len(t, r.got, 1)
	var got struct {
		Type string
		Data map[string]any
	}
	require.NoError(t, json.Unmarshal(r.got[0].body, &got))
	assert.Equal(t, Type, got.Type)
	assert.Equal(t, map[string]any{"user": "a\"<b>\u2028", "folder": "Entwürfe", "event": "messageNew"}, got.Data)
}

func TestRequest(t *testing.T) {
	got := deliver(t, Config{
		URL: "/rooms/%21a%3Ab/" + ID + "?txn=" + ID, Method: http.MethodPut,
		Header:   http.Header{"x-gotify-key": {"key"}, "Content-Type": {"text/plain"}, "User-Agent": {"other"}},
		Username: "alice", Password: "pass:word",
		Template: `new mail for {{.User}}`,
	})
	id := targettest.Record().ID.String()
	assert.Equal(t, http.MethodPut, got.method)
	assert.Equal(t, "/rooms/%21a%3Ab/"+id+"?txn="+id, got.uri)
	assert.Equal(t, "new mail for alice@example.com", string(got.body))
	assert.Equal(t, []string{"key"}, got.header["X-Gotify-Key"])
	assert.Equal(t, []string{"text/plain"}, got.header["Content-Type"])
	assert.Equal(t, []string{"other"}, got.header["User-Agent"])
	assert.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte("alice:pass:word")), got.header.Get("Authorization"))
	assert.NotContains(t, got.header, "Idempotency-Key")
}

// The identifier is the same in each attempt, the time is that of the attempt.
func TestAttempts(t *testing.T) {
	r := startReceiver(t)
	r.status = http.StatusServiceUnavailable
	target := newTarget(t, Config{URL: r.URL, Secrets: [][]byte{make([]byte, 24)}})
	at := time.Unix(1795453000, 0)
	target.now = func() time.Time { at = at.Add(time.Minute); return at }
	for range 2 {
		assert.Equal(t, delivery.TryAgain, target.Deliver(t.Context(), targettest.Record()).Outcome)
	}
	require.Len(t, r.got, 2)
	first, second := r.got[0].header, r.got[1].header
	assert.Equal(t, first["Webhook-Id"], second["Webhook-Id"])
	assert.Equal(t, r.got[0].body, r.got[1].body)
	assert.NotEqual(t, first["Webhook-Timestamp"], second["Webhook-Timestamp"])
	assert.NotEqual(t, first["Webhook-Signature"], second["Webhook-Signature"])
}

func TestMistakes(t *testing.T) {
	for want, cfg := range map[string]Config{
		"must begin with https":       {URL: "ftp://hooks.example/t0ken"},
		"must begin with https:// or": {URL: "hooks.example/t0ken"},
		"and a host":                  {URL: "https:///t0ken"},
		"cannot be read":              {URL: "https://hooks.example/t0ken\x7f%zz"},
		"user name or password":       {URL: "https://user:t0ken@hooks.example/"},
		"fragment":                    {URL: "https://hooks.example/#t0ken"},
		"in its host":                 {URL: "https://" + ID + ".example/t0ken"},
		"Webhook-Id cannot be set":    {URL: "https://hooks.example/t0ken", Header: http.Header{"webhook-id": {"1"}}},
		"Host cannot be set":          {URL: "https://hooks.example/t0ken", Header: http.Header{"HOST": {"x"}}},
		"cannot be used together":     {URL: "https://hooks.example/t0ken", Header: http.Header{"Authorization": {"t0ken"}}, Username: "x"},
		"unclosed action":             {URL: "https://hooks.example/t0ken", Template: `{{.User`},
		`function "nope" not defined`: {URL: "https://hooks.example/t0ken", Template: `{{nope .User}}`},
		"can't evaluate field Nope":   {URL: "https://hooks.example/t0ken", Template: `{{.Nope}}`},
		"is no JSON":                  {URL: "https://hooks.example/t0ken", Template: `{"text":"{{.Subject}}"}`},
		"in the path or the query":    {URL: "https://" + ID + "/"},
	} {
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "t0ken")
	}
}

func TestUndecodable(t *testing.T) {
	r := startReceiver(t)
	target := newTarget(t, Config{URL: r.URL, Filter: Filter{Users: []string{"nobody"}}})
	record := &queue.Record{Body: []byte("nonsense")}
	assert.True(t, target.Wants(record), "somebody must say what is wrong")
	result := target.Deliver(t.Context(), record)
	assert.Equal(t, delivery.Refused, result.Outcome)
	assert.Equal(t, "undecodable", result.Reason)
	assert.Empty(t, r.got)
}

func BenchmarkDeliver(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	for name, cfg := range map[string]Config{
		"thin":     {},
		"signed":   {Secrets: [][]byte{make([]byte, 32)}},
		"template": {Content: notification.Full, Template: `{"text":{{json (printf "%s: %s" .From .Subject)}}}`},
	} {
		b.Run(name, func(b *testing.B) {
			cfg.URL = server.URL
			target := newTarget(b, cfg)
			record := targettest.Record()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if r := target.Deliver(b.Context(), record); r.Outcome != delivery.Delivered {
						b.Fatal(r)
					}
				}
			})
		})
		b.Run(name+" without HTTP", func(b *testing.B) {
			cfg.URL = server.URL
			target := newTarget(b, cfg)
			record := targettest.Record()
			b.ReportAllocs()
			for b.Loop() {
				n, err := target.decoder.Decode(record.Body)
				if err != nil {
					b.Fatal(err)
				}
				body, err := target.body(newMail(record, n, target.content))
				if err != nil {
					b.Fatal(err)
				}
				_ = target.newRequest(b.Context(), record.ID, body)
			}
		})
	}
}
