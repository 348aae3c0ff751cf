// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// padded returns a good body of this many bytes.
func padded(size int) string {
	head := strings.TrimSuffix(body, "}") + `,"x":"`
	return head + strings.Repeat("x", size-len(head)-2) + `"}`
}

func TestBodySize(t *testing.T) {
	const limit = 4 << 10
	e := serve(t, func(h *Handler) { h.MaxBody = limit })
	chunked := func(r *http.Request) { r.ContentLength, r.TransferEncoding = -1, []string{"chunked"} }
	for name, change := range map[string]func(*http.Request){"length known": func(*http.Request) {}, "chunked": chunked} {
		t.Run(name, func(t *testing.T) {
			c := client(t)
			require.Equal(t, 200, e.send(t, c, put(body, change)).status)
			require.Equal(t, body, string(e.store.records[len(e.store.records)-1].Body))
			require.Equal(t, 200, e.send(t, c, put(padded(limit), change)).status)
			require.Equal(t, padded(limit), string(e.store.records[len(e.store.records)-1].Body))

			stored := len(e.store.records)
			got := e.send(t, c, put(padded(limit+1), change))
			require.Equal(t, 413, got.status)
			require.Equal(t, TooLarge, e.result(t))
			message, _ := problem(t, got.body)
			require.Contains(t, message, "4096 bytes")
			require.Len(t, e.store.records, stored)
		})
	}
}

func TestDefaultMaxBody(t *testing.T) {
	e := serve(t, nil)
	require.Equal(t, 200, e.send(t, client(t), put(padded(6<<20))).status)

	c := e.dial(t)
	c.head(t, "Content-Length: 6291457")
	require.Equal(t, 413, c.answer(t).StatusCode, "before the body came")
	c.requireClosed(t)
}

// A body without an end is not waited for either.
func TestEndlessBody(t *testing.T) {
	e := serve(t, func(h *Handler) { h.MaxBody, h.ReadTimeout = 1<<10, time.Hour })
	c := e.dial(t)
	c.head(t, "Transfer-Encoding: chunked")
	fmt.Fprintf(c, "%x\r\n%s\r\n", 300<<10, padded(300<<10))
	res := c.answer(t)
	require.Equal(t, 413, res.StatusCode)
	require.True(t, res.Close)
	require.Equal(t, TooLarge, e.result(t))
}

// What is refused before it is read is not waited for, if it is large.
func TestRefusedBodyIsNotRead(t *testing.T) {
	for name, lines := range map[string][]string{
		"401": {"Authorization: Basic eDp5"},
		"413": {},
	} {
		t.Run(name, func(t *testing.T) {
			e := serve(t, func(h *Handler) { h.MaxBody = 1 << 10 })
			c := e.dial(t)
			c.head(t, append(lines, "Content-Length: 104857600")...)
			res := c.answer(t)
			require.True(t, res.Close)
			c.requireClosed(t)
		})
	}
}

// The rest of a small one is, but not for ever.
func TestRefusedBodyThatDoesNotCome(t *testing.T) {
	e := serve(t, func(h *Handler) { h.ReadTimeout = 50 * time.Millisecond; h.Credentials = nil })
	c := e.dial(t)
	c.head(t, "Content-Length: 100")
	res := c.answer(t)
	require.Equal(t, 403, res.StatusCode)
	require.True(t, res.Close)
	c.requireClosed(t)
}

func TestSlowBody(t *testing.T) {
	for name, lines := range map[string][]string{
		"length known": {"Content-Length: 1000"},
		"chunked":      {"Transfer-Encoding: chunked"},
	} {
		t.Run(name, func(t *testing.T) {
			e := serve(t, func(h *Handler) { h.ReadTimeout = 50 * time.Millisecond })
			c := e.dial(t)
			c.head(t, lines...)
			res := c.answer(t)
			require.Equal(t, 408, res.StatusCode)
			require.True(t, res.Close)
			require.Equal(t, BodyTimeout, e.result(t))
			text, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			problem(t, string(text))
			c.requireClosed(t)
		})
	}
}

func TestCutBody(t *testing.T) {
	for name, send := range map[string]func(c *wire){
		"length known": func(c *wire) { c.head(t, "Content-Length: 1000"); fmt.Fprint(c, body) },
		"chunked": func(c *wire) {
			c.head(t, "Transfer-Encoding: chunked")
			fmt.Fprintf(c, "%x\r\n%s\r\n", len(body), body)
		},
		"chunked badly": func(c *wire) { c.head(t, "Transfer-Encoding: chunked"); fmt.Fprint(c, "what?\r\n") },
	} {
		t.Run(name, func(t *testing.T) {
			e := serve(t, nil)
			c := e.dial(t)
			send(c)
			require.NoError(t, c.CloseWrite())
			res := c.answer(t)
			require.Equal(t, 400, res.StatusCode)
			require.Equal(t, BodyCut, e.result(t))
			require.Empty(t, e.store.records)
			c.requireClosed(t)
		})
	}
}

// deadlines notes the read deadlines that are set.
type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return nil
}

func TestReadDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := handler(t, nil)
		limit := time.Now().Add(DefaultReadTimeout)
		w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
		e.ServeHTTP(w, put(body))
		require.Equal(t, []time.Time{limit, {}}, w.set, "the deadline is for the body alone")

		w = &deadlines{ResponseRecorder: httptest.NewRecorder()}
		e.ServeHTTP(w, put(body, func(r *http.Request) { r.Method = "POST" }))
		require.Equal(t, []time.Time{limit}, w.set, "the server reads the rest of what was refused")
	})
}

// A limit that somebody set in front of the handler is one as well.
func TestLimitInFront(t *testing.T) {
	e := handler(t, nil)
	e.server = httptest.NewServer(http.MaxBytesHandler(e.Handler, 100))
	t.Cleanup(e.server.Close)
	got := e.send(t, client(t), put(body))
	require.Equal(t, 413, got.status)
	require.Equal(t, TooLarge, e.result(t))
}

// Each record has a body of its own, exactly as large as it must be.
func TestBodyIsOwned(t *testing.T) {
	e := handler(t, nil)
	for _, b := range []string{body, padded(1000)} {
		e.ServeHTTP(httptest.NewRecorder(), put(b))
	}
	require.Equal(t, body, string(e.store.records[0].Body))
	require.Equal(t, padded(1000), string(e.store.records[1].Body))
	require.Equal(t, len(body), cap(e.store.records[0].Body))
}

func TestBodyInSmallPieces(t *testing.T) {
	e := handler(t, nil)
	r := put(body)
	r.Body = io.NopCloser(iotest.OneByteReader(strings.NewReader(body)))
	w := httptest.NewRecorder()
	e.ServeHTTP(w, r)
	require.Equal(t, 200, w.Code)
	require.Equal(t, body, string(e.store.records[0].Body))
}
