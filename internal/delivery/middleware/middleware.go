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
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
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
	// error, with nothing written, if no node answered.
	Proxy func(w http.ResponseWriter, r *http.Request) error
}

// Deliver makes one attempt.
func (t *Target) Deliver(ctx context.Context, rec *queue.Record) delivery.Result {
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, t.URL.String(), bytes.NewReader(rec.Body))
	if err != nil {
		return delivery.Result{Reason: "request", Err: err}
	}
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.RequestURI = r.URL.RequestURI()
	r.RemoteAddr = "127.0.0.1:0"
	if t.Username != "" {
		r.SetBasicAuth(t.Username, t.Password)
	}
	answer := newAnswer()
	if err := t.Proxy(answer, r); err != nil {
		return failure(ctx, err)
	}
	result := delivery.ResultOfStatus(answer.status(), answer.header, time.Now())
	if result.Outcome != delivery.Delivered {
		result.Err = fmt.Errorf("the middleware answers %d %s", answer.status(), http.StatusText(answer.status()))
	}
	return result
}

// failure is the result where no node answered: always worth another attempt.
func failure(ctx context.Context, err error) delivery.Result {
	reason := "no_answer"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		reason = "timeout"
	}
	return delivery.Result{Reason: reason, Err: err}
}

// answer takes what the middleware answers. Nobody reads the body.
type answer struct {
	header http.Header
	code   int
}

func newAnswer() *answer { return &answer{header: make(http.Header)} }

// Header implements http.ResponseWriter.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if a.code == 0 && status >= http.StatusOK {
		a.code = status
	}
}

// Write implements http.ResponseWriter.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return len(b), nil
}

// status of an answer without a word is 200, as in net/http.
func (a *answer) status() int {
	if a.code == 0 {
		return http.StatusOK
	}
	return a.code
}
