// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package actions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/action"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// desk fails with an error; one of a forgery when it checks.
type desk struct{ err error }

func (d *desk) Check(context.Context, *action.Ticket) error {
	if errors.Is(d.err, action.ErrForged) {
		return d.err
	}
	return nil
}

func (d *desk) Do(context.Context, *action.Ticket) (*action.Ticket, error) { return nil, d.err }

type counted struct {
	action action.Action
	result Result
}

type world struct {
	*Handler
	desk    desk
	log     strings.Builder
	counted []counted
	from    string
}

func newWorld() *world {
	w := &world{from: "192.0.2.1"}
	w.Handler = New(Config{
		Desk:    func(context.Context) (Desk, error) { return &w.desk, nil },
		Source:  func(*http.Request) netip.Addr { return netip.MustParseAddr(w.from) },
		Logger:  slog.New(slog.NewTextHandler(&w.log, nil)),
		Observe: func(a action.Action, r Result) { w.counted = append(w.counted, counted{a, r}) },
	})
	return w
}

func (w *world) post(body string) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	w.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/actions", strings.NewReader(body)))
	return recorder
}

func ticket(user string) string {
	return fmt.Sprintf(`{"user":%q,"device":"D","action":"archive","folder":"INBOX","uid":7,"uidValidity":1,"expires":1,"token":"s3cret"}`, user)
}

// Each failure has its answer and its count. Neither answers nor the log have anything
// of the ticket.
func TestFailures(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		result Result
		later  bool
	}{
		{nil, 200, Done, false},
		{action.ErrForged, 403, Forged, false},
		{action.ErrNotOffered, 403, Forged, false},
		{action.ErrExpired, 410, Expired, false},
		{action.ErrNoDevice, 410, Expired, false},
		{action.ErrUsed, 409, Used, false},
		{action.ErrNoMail, 404, NoMail, false},
		{action.ErrNoMailbox, 422, NoMailbox, false},
		{action.ErrBusy, 429, Limited, true},
		{fmt.Errorf("%w: timeout", action.ErrDovecot), 503, Failed, true},
		{action.ErrKey, 503, Failed, true},
		{queue.ErrUnavailable, 503, Failed, true},
	} {
		w := newWorld()
		w.desk.err = c.err
		got := w.post(ticket("alice@example.com"))
		assert.Equal(t, c.status, got.Code, c.err)
		assert.Equal(t, []counted{{action.Archive, c.result}}, w.counted)
		assert.Equal(t, c.later, got.Header().Get("Retry-After") != "")
		assert.Equal(t, c.result == Failed, w.log.Len() > 0, "an operator should know")
		for _, secret := range []string{"s3cret", "alice", "INBOX"} {
			assert.NotContains(t, got.Body.String()+w.log.String(), secret)
		}
	}
}

func TestBodies(t *testing.T) {
	w := newWorld()
	for body, status := range map[string]int{
		"": 400, "null": 400, "{}": 400, "[]": 400, `{"token":1}`: 400, ticket("a") + "x": 400, ticket("a") + ticket("a"): 400,
		strings.Replace(ticket("a"), "}", `,"more":1}`, 1): 400, strings.Replace(ticket("a"), "7", "-7", 1): 400,
		strings.Repeat(" ", maxBody) + ticket("a"): 413, ticket(strings.Repeat("a", maxBody)): 413,
	} {
		assert.Equal(t, status, w.post(body).Code, "%.30s", body)
	}
	for _, c := range w.counted {
		assert.Equal(t, Refused, c.result)
	}
	w.counted = nil
	w.post(strings.Replace(ticket("a"), "archive", "made up", 1))
	assert.Equal(t, []counted{{"", Done}}, w.counted, "nobody makes up labels of metrics")
}

// Who guesses has to wait. Who does not is not hindered by that, but by what they do
// themselves.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.desk.err = action.ErrForged
		for range guesses.Burst {
			require.Equal(t, 403, w.post(ticket("a")).Code)
		}
		got := w.post(ticket("a"))
		require.Equal(t, 429, got.Code)
		require.Equal(t, "2", got.Header().Get("Retry-After"))
		w.desk.err = nil
		require.Equal(t, 200, w.post(ticket("z")).Code, "another one from there")
		w.desk.err = action.ErrForged
		time.Sleep(guesses.Interval)
		require.Equal(t, 403, w.post(ticket("a")).Code)
		w.from = "192.0.2.2"
		require.Equal(t, 403, w.post(ticket("a")).Code, "another source")

		w.desk.err = action.ErrUsed
		for range uses.Burst {
			require.Equal(t, 409, w.post(ticket("a")).Code)
		}
		require.Equal(t, 429, w.post(ticket("a")).Code)
		require.Equal(t, 409, w.post(ticket("b")).Code)
		time.Sleep(uses.Interval)
		require.Equal(t, 409, w.post(ticket("a")).Code)
	})
}
