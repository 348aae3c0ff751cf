// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package actions is the part of the user API in which a device does what its user
// chose on a notification.
//
// It serves POST requests whose body is a ticket (see package action), at any path.
// Nobody has to sign in: the ticket is the permission. The answer is JSON; errors are
// problem details (RFC 9457).
//
// Like everything below handlers, it makes no promise of stability before v1.
package actions

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/problem"
	"github.com/dovecotpush/caddy-dovecot-push/internal/action"
	"github.com/dovecotpush/caddy-dovecot-push/internal/throttle"
)

var (
	// guesses limits how often a source learns that a ticket is none.
	guesses = throttle.Limit{Burst: 10, Interval: 2 * time.Second, Keys: 4096}
	// uses limits how many tickets of a user are used. Each is a durable write, and
	// work for Dovecot.
	uses = throttle.Limit{Burst: 30, Interval: 6 * time.Second, Keys: 4096}
)

const (
	// maxBody bounds a request body, in bytes. The names in a ticket may be long.
	maxBody = 16 << 10
	// retryAfter is when to come back if it may work then.
	retryAfter = 5 * time.Second
)

// Result is what became of a request; it is a metric label.
type Result string

// The results.
const (
	Done      Result = "done"
	Refused   Result = "refused"    // the request is invalid
	Forged    Result = "forged"     // the ticket is not authentic
	Expired   Result = "expired"    // it is too late, or the device was removed
	Used      Result = "used"       // it was done before
	NoMail    Result = "no_mail"    // the mail is not there any more
	NoMailbox Result = "no_mailbox" // the mailbox does not exist that it would go to
	Limited   Result = "limited"    // too much was asked for
	Failed    Result = "failed"     // Dovecot or the store did not do it
)

// Results are all of them.
var Results = []Result{Done, Refused, Forged, Expired, Used, NoMail, NoMailbox, Limited, Failed}

// Desk checks tickets and does what they are for: [*action.Actions].
type Desk interface {
	Check(ctx context.Context, t *action.Ticket) error
	Do(ctx context.Context, t *action.Ticket) (undo *action.Ticket, err error)
}

// Config of a handler.
type Config struct {
	// Desk returns what does it. It may wait for that to be there.
	Desk func(context.Context) (Desk, error)
	// Source returns the address that a request comes from.
	Source func(*http.Request) netip.Addr
	// Logger gets what an operator should know. Required.
	Logger *slog.Logger
	// Observe, if set, is called with every request. The action is empty if it
	// asked for none that there is.
	Observe func(action.Action, Result)
}

// Handler serves the requests.
type Handler struct {
	cfg     Config
	guesses *throttle.Throttle[netip.Addr]
	uses    *throttle.Throttle[string]
}

// New returns a handler.
func New(cfg Config) *Handler {
	if cfg.Observe == nil {
		cfg.Observe = func(action.Action, Result) {}
	}
	return &Handler{cfg: cfg, guesses: throttle.New[netip.Addr](guesses), uses: throttle.New[string](uses)}
}

// answer is the body of the answer to what was done.
type answer struct {
	// Undo is the body of the request that undoes it, or null.
	Undo *action.Ticket `json:"undo"`
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var t action.Ticket
	undo, err := h.serve(w, r, &t)
	asked := t.Action
	if !slices.Contains(action.All, asked) {
		asked = ""
	}
	if err != nil {
		h.cfg.Observe(asked, h.fail(w, err))
		return
	}
	h.cfg.Observe(asked, Done)
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer{undo})
}

var (
	errBody     = errors.New("the body is no ticket")
	errTooLarge = errors.New("the body is too large")
)

// tooManyError says that there were too many requests.
type tooManyError struct{ wait time.Duration }

func (*tooManyError) Error() string { return "too many requests" }

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, t *action.Ticket) (undo *action.Ticket, err error) {
	if err := read(w, r, t); err != nil {
		return nil, err
	}
	ctx := r.Context()
	desk, err := h.cfg.Desk(ctx)
	if err != nil {
		return nil, err
	}
	// To check costs next to nothing, and nobody guesses 128 bits: those who come from
	// where somebody guesses need not wait.
	err = desk.Check(ctx, t)
	if errors.Is(err, action.ErrForged) {
		if wait := h.guesses.Count(throttle.Source(h.cfg.Source(r))); wait > 0 {
			return nil, &tooManyError{wait}
		}
	}
	if err != nil {
		return nil, err
	}
	if wait := h.uses.Count(t.User); wait > 0 {
		return nil, &tooManyError{wait}
	}
	return desk.Do(ctx, t)
}

// read reads a ticket and nothing else.
func read(w http.ResponseWriter, r *http.Request, t *action.Ticket) error {
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(t)
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errBody
		}
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return errTooLarge
	}
	if err != nil || t.Token == "" {
		return errBody
	}
	return nil
}

// fail answers with what err means.
func (h *Handler) fail(w http.ResponseWriter, err error) Result {
	var many *tooManyError
	wait := retryAfter
	p, result := problem.Problem{Status: http.StatusServiceUnavailable, Detail: "It could not be done right now. Try again later."}, Failed
	switch {
	case errors.Is(err, errBody):
		p, result = problem.Problem{Status: http.StatusBadRequest, Detail: "The body must be what a notification brought, or an answer has as undo."}, Refused
	case errors.Is(err, errTooLarge):
		p, result = problem.Problem{Status: http.StatusRequestEntityTooLarge}, Refused
	case errors.Is(err, action.ErrForged), errors.Is(err, action.ErrNotOffered):
		p, result = problem.Problem{Status: http.StatusForbidden, Detail: "This server permits nothing like that."}, Forged
	case errors.Is(err, action.ErrExpired):
		p, result = problem.Problem{Status: http.StatusGone, Title: "Too late", Detail: "The notification is too old."}, Expired
	case errors.Is(err, action.ErrNoDevice):
		p, result = problem.Problem{Status: http.StatusGone, Title: "The device was removed", Detail: "The user has no such device any more."}, Expired
	case errors.Is(err, action.ErrUsed):
		p, result = problem.Problem{Status: http.StatusConflict, Title: "Done before", Detail: "It was done before, or is being done."}, Used
	case errors.Is(err, action.ErrNoMail):
		p, result = problem.Problem{Status: http.StatusNotFound, Title: "The mail is not there", Detail: "It was moved or deleted since."}, NoMail
	case errors.Is(err, action.ErrNoMailbox):
		p, result = problem.Problem{Status: http.StatusUnprocessableEntity, Title: "The mailbox is missing", Detail: "The mailbox does not exist that the mail would be moved to."}, NoMailbox
	case errors.As(err, &many):
		p, result, wait = problem.Problem{Status: http.StatusTooManyRequests, Detail: "There were too many requests in a short time."}, Limited, many.wait
	case errors.Is(err, action.ErrBusy):
		p, result, wait = problem.Problem{Status: http.StatusTooManyRequests, Detail: "Others of your requests are under way."}, Limited, time.Second
	default:
		h.cfg.Logger.Error("cannot do what a user chose on a notification", "error", err)
	}
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
	}
	problem.Write(w, p)
	return result
}
