// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package middleware delivers to the Open-Xchange middleware, or to anything
// else that takes notifications the way Dovecot sends them: the same PUT with
// the same bytes as its body.
package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Target is the middleware, one node or a cluster.
type Target struct {
	// URL is scheme, host and path of the endpoint. With a Proxy that
	// chooses the node, the host only stands in the request.
	URL *url.URL
	// Username and Password are shown to the middleware (HTTP Basic), if the
	// user name is not empty. They are its own, not those of Dovecot.
	Username, Password string
	// Proxy sends the request to a node and writes the answer. It returns an
	// error, with nothing written, if no node answered, see [ErrNoNode], and
	// panics with [http.ErrAbortHandler] if an answer breaks off.
	Proxy func(w http.ResponseWriter, r *http.Request) error
	// UnknownUser, if set, is called for each notification that was taken
	// although Open-Xchange drops it: its user is not <user id>@<context id>.
	UnknownUser func()
}

// Deliver makes one attempt. The middleware knows new mails only: all other
// events are none of its business.
func (t *Target) Deliver(ctx context.Context, rec *queue.Record) delivery.Result {
	if !isNew(rec.Body) {
		return delivery.Result{Outcome: delivery.Delivered}
	}
	return t.attempt(ctx, rec)
}

// Probe makes an attempt with a body that the middleware answers like every
// other and ignores: one of an event that it does not know.
func (t *Target) Probe(ctx context.Context, body []byte) delivery.Result {
	return t.attempt(ctx, &queue.Record{Accepted: time.Now(), Body: body})
}

func (t *Target) attempt(ctx context.Context, rec *queue.Record) delivery.Result {
	attempt, cancel := context.WithCancel(ctx)
	r, err := http.NewRequestWithContext(attempt, http.MethodPut, t.URL.String(), bytes.NewReader(rec.Body))
	if err != nil {
		cancel()
		return delivery.Result{Reason: "request", Fault: delivery.FaultOfOurs, Err: err}
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	// The same in each attempt. With it net/http sends the request again
	// automatically when the node has closed the connection that it waited on.
	r.Header.Set("Idempotency-Key", strconv.Quote(rec.ID.String()))
	r.RequestURI = r.URL.RequestURI()
	r.RemoteAddr = "127.0.0.1:0"
	if t.Username != "" {
		r.SetBasicAuth(t.Username, t.Password)
	}
	answer := newAnswer(cancel)
	defer answer.end()
	err = t.serve(answer, r)
	switch {
	case ctx.Err() != nil && (answer.code == 0 || answer.code == statusInterrupted):
		return failure(ctx.Err())
	case answer.code == 0: // also of a status that is none, such as 000
		return failure(err)
	}
	// Whatever went wrong after the status, the middleware has said it.
	result := delivery.ResultOfStatus(answer.code, answer.header, time.Now())
	if result.Outcome != delivery.Delivered {
		result.Err = fmt.Errorf("the middleware answers %d %s", answer.code, http.StatusText(answer.code))
	} else if t.UnknownUser != nil && !knows(rec.Body) {
		t.UnknownUser()
	}
	return result
}

// internalUser is a user as Open-Xchange tells them apart.
var internalUser = regexp.MustCompile(`^[0-9]+@[0-9]+$`)

// knows reports whether Open-Xchange can know the user of a body, if that is
// one that it is notified of.
func knows(body []byte) bool {
	n, err := notification.Identify(body, nil)
	return err != nil || internalUser.MatchString(n.User)
}

// isNew reports whether a body reports a new mail.
func isNew(body []byte) bool {
	if bytes.Contains(body, []byte(`"event":"`+notification.MessageNew+`"`)) {
		return true // as Dovecot writes it, without a look at all the rest
	}
	_, err := new(notification.Decoder).Decode(body)
	return !errors.Is(err, notification.ErrUnusedEvent)
}

// serve calls the proxy, which panics when an answer breaks off, as handlers
// of net/http do.
func (t *Target) serve(w http.ResponseWriter, r *http.Request) (err error) {
	defer func() {
		if p := recover(); p == http.ErrAbortHandler { //nolint:errorlint // it is this one
			err = http.ErrAbortHandler
		} else if p != nil {
			panic(p)
		}
	}()
	return t.Proxy(w, r)
}

// ErrNoNode is what Proxy returns when it has no node to send a request to.
var ErrNoNode = errors.New("no node is available")

var errNoAnswer = errors.New("there was no answer")

// failure is the result where no node answered: always worth another attempt.
func failure(err error) delivery.Result {
	switch {
	case err == nil, errors.Is(err, http.ErrAbortHandler):
		return delivery.Result{Reason: "no_answer", Err: errNoAnswer}
	case errors.Is(err, ErrNoNode):
		return delivery.Result{Reason: "no_node", Fault: delivery.FaultOfService, Err: ErrNoNode}
	}
	return delivery.ResultOfFailure(err)
}

// An answer is read that far, and for that long, to use the connection again;
// its status has said everything by then.
const (
	maxAnswer  = 16 << 10
	answerTime = time.Second
)

// statusInterrupted is what proxies write when the context has ended.
const statusInterrupted = 499

var errEnough = errors.New("the answer is long enough")

// answer takes what the middleware answers. Nobody reads the body.
type answer struct {
	header http.Header
	code   int
	left   int
	cancel context.CancelFunc
	timer  *time.Timer
}

func newAnswer(cancel context.CancelFunc) *answer {
	return &answer{header: make(http.Header), left: maxAnswer, cancel: cancel}
}

func (a *answer) end() {
	a.cancel()
	if a.timer != nil {
		a.timer.Stop()
	}
}

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.code == 0 && status >= http.StatusOK {
		a.code = status
		a.timer = time.AfterFunc(answerTime, a.cancel)
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	if a.left -= len(b); a.left < 0 {
		return 0, errEnough
	}
	return len(b), nil
}
