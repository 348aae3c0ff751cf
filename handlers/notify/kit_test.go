// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/credentials"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
	"github.com/dovecotpush/caddy-dovecot-push/internal/testlog"
)

func TestMain(m *testing.M) { natsleak.VerifyTestMain(m) }

const (
	path = "/preliminary/http-notify/v1/notify"
	date = "Mon, 23 Nov 2026 16:56:11 GMT"
	// body holds words that no answer and no log may.
	body = `{"user":"bob@example.com","event":"messageNew","folder":"INBOX","imap-uidvalidity":1795452971,"imap-uid":1,` +
		`"from":"Alice <alice@example.net>","subject":"Hello world","snippet":"Hello Bob","unseen":1}`
)

// private are those words.
var private = []string{"bob", "alice", "Alice", "INBOX", "Hello", "1795452971", "dovecot:", "secret", "c2VjcmV0"}

// endpoint is a Handler on a real server, and what it did.
type endpoint struct {
	*Handler
	server *httptest.Server
	log    *testlog.Buffer
	store  *fakeStore

	mu      sync.Mutex
	results []Result
}

// fakeStore stands for the queue.
type fakeStore struct {
	mu        sync.Mutex
	records   []queue.Record
	windows   []time.Duration
	duplicate bool
	err       error
}

func (s *fakeStore) accept(_ context.Context, r queue.Record, window time.Duration) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false, s.err
	}
	s.records = append(s.records, r)
	s.windows = append(s.windows, window)
	return s.duplicate, nil
}

// handler returns a Handler that asks for dovecot:secret. change may be nil.
func handler(tb testing.TB, change func(*Handler)) *endpoint {
	tb.Helper()
	verifier, err := credentials.New([]credentials.Pair{{Username: "dovecot", Password: []byte("secret")}}, nil)
	require.NoError(tb, err)
	e := &endpoint{log: new(testlog.Buffer), store: new(fakeStore)}
	e.Handler = &Handler{
		Credentials: verifier,
		Accept:      e.store.accept,
		Logger:      slog.New(slog.NewJSONHandler(e.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observe: func(r Result, _ netip.Addr, took time.Duration) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.results = append(e.results, r)
		},
	}
	if change != nil {
		change(e.Handler)
	}
	return e
}

// serve starts a server for it.
func serve(tb testing.TB, change func(*Handler)) *endpoint {
	tb.Helper()
	e := handler(tb, change)
	e.server = httptest.NewServer(e.Handler)
	tb.Cleanup(e.server.Close)
	return e
}

func (e *endpoint) result(tb testing.TB) Result {
	tb.Helper()
	e.mu.Lock()
	defer e.mu.Unlock()
	require.NotEmpty(tb, e.results)
	return e.results[len(e.results)-1]
}

// put makes the request that Dovecot sends for body.
func put(body string, change ...func(*http.Request)) *http.Request {
	r := httptest.NewRequest(http.MethodPut, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.Header.Set("Date", date)
	r.SetBasicAuth("dovecot", "secret")
	for _, c := range change {
		c(r)
	}
	return r
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	reused bool // it came over a connection that was used before
}

// send sends a request made by put to the server.
func (e *endpoint) send(tb testing.TB, client *http.Client, r *http.Request) answer {
	tb.Helper()
	var a answer
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { a.reused = info.Reused }}
	out, err := http.NewRequestWithContext(httptrace.WithClientTrace(tb.Context(), trace), r.Method, e.server.URL+path, r.Body)
	require.NoError(tb, err)
	out.Header, out.ContentLength, out.TransferEncoding = r.Header, r.ContentLength, r.TransferEncoding
	res, err := client.Do(out)
	require.NoError(tb, err)
	text, err := io.ReadAll(res.Body)
	require.NoError(tb, err)
	require.NoError(tb, res.Body.Close())
	a.status, a.header, a.body = res.StatusCode, res.Header, string(text)
	return a
}

// dial opens a connection to send bytes over that no HTTP client would.
func (e *endpoint) dial(tb testing.TB) *wire {
	tb.Helper()
	conn, err := net.Dial("tcp", e.server.Listener.Addr().String())
	require.NoError(tb, err)
	tb.Cleanup(func() { conn.Close() })
	require.NoError(tb, conn.SetDeadline(time.Now().Add(time.Minute)))
	return &wire{conn.(*net.TCPConn), bufio.NewReader(conn)}
}

type wire struct {
	*net.TCPConn
	in *bufio.Reader
}

// head sends the head of a request, with these lines in it.
func (c *wire) head(tb testing.TB, lines ...string) {
	tb.Helper()
	lines = append([]string{
		"PUT " + path + " HTTP/1.1", "Host: push.example", "Date: " + date,
		"Authorization: Basic ZG92ZWNvdDpzZWNyZXQ=", "Content-Type: application/json; charset=utf-8",
	}, lines...)
	_, err := c.Write([]byte(strings.Join(lines, "\r\n") + "\r\n\r\n"))
	require.NoError(tb, err)
}

// answer reads one answer, and the 100 (Continue) before it if there is one.
func (c *wire) answer(tb testing.TB) *http.Response {
	tb.Helper()
	res, err := http.ReadResponse(c.in, nil)
	require.NoError(tb, err)
	if res.StatusCode == http.StatusContinue {
		return c.answer(tb)
	}
	text, err := io.ReadAll(res.Body)
	require.NoError(tb, err)
	res.Body = io.NopCloser(bytes.NewReader(text))
	return res
}

// requireClosed waits for the server to close the connection.
func (c *wire) requireClosed(tb testing.TB) {
	tb.Helper()
	_, err := c.in.ReadByte()
	require.ErrorIs(tb, err, io.EOF)
}

// client returns a client with connections of its own.
func client(tb testing.TB) *http.Client {
	transport := &http.Transport{}
	tb.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// problem reads the body of a refusal.
func problem(tb testing.TB, text string) (message, field string) {
	tb.Helper()
	var p struct {
		Success      *bool
		Error, Field string
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(tb, decoder.Decode(&p), text)
	require.NotNil(tb, p.Success, text)
	require.False(tb, *p.Success)
	require.NotEmpty(tb, p.Error)
	return p.Error, p.Field
}
