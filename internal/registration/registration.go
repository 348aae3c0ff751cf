// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package registration keeps the METADATA entries that make Dovecot notify for
// exactly the users it should.
//
// In come wishes: a user has subscriptions ([Reconciler.Want]) or none any more
// ([Reconciler.Unwant]), an operator decided about a user
// ([Reconciler.Register], [Reconciler.Unregister]), or the configuration wants
// everybody ([Policy]). Out go the fewest possible changes through a
// [Registrar]: by DoveAdm ([DoveAdm]) or by IMAP ([IMAP]).
//
// Dovecot itself holds the truth about what is set; nothing is assumed that can
// be read there. What is wished is kept in a table of the queue's store, one
// entry for each user. Three things lead to a look at a user:
//
//   - a wish is noted: at once (due.go, watch.go);
//   - an attempt failed: after a while, longer each time (due.go);
//   - a pass over all users, every interval, finds what is missing or wrong, such
//     as the entry of an INBOX that was deleted and made anew (pass.go, sweep.go).
//
// A look compares the wish with the entry and changes it if need be
// (settle.go). It is idempotent: after a crash the next pass finds what is
// still to do.
//
// A mark in the value tells an entry of ours from one of somebody else, which is
// never overwritten unless that was asked for (value.go).
package registration

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// Policy is who is registered without being named by an operator.
type Policy string

// The policies.
const (
	// OnSubscribe registers users who have a subscription.
	OnSubscribe Policy = "on_subscribe"
	// All registers every user that Dovecot lists.
	All Policy = "all"
	// Off leaves all entries alone, but for those of users that an operator
	// names.
	Off Policy = "off"
)

// Defaults of a Config.
const (
	DefaultInterval    = time.Hour
	DefaultGrace       = 24 * time.Hour
	DefaultConcurrency = 16
)

// Config of a reconciler.
type Config struct {
	Registrar Registrar
	// Table keeps the wishes.
	Table *queue.Table
	// Alone tells that nobody but this process uses the table, so that a pass
	// that another process began has ended with it.
	Alone bool
	// Subscribers, if set, returns all users who have subscriptions now. It is
	// asked before each pass, so that no wish is lost that Want or Unwant could
	// not be told of.
	Subscribers func(ctx context.Context) ([]string, error)
	// Policy defaults to OnSubscribe.
	Policy Policy
	// Canonical returns the name that Dovecot has for a login; it fails for what
	// cannot be a name. Default: the login in lower case.
	Canonical func(ctx context.Context, login string) (string, error)
	// Value makes the values. Default: user={user}.
	Value *Template
	// Interval is how often all users are looked at, give or take a tenth.
	// Default: DefaultInterval.
	Interval time.Duration
	// Grace is how long after the end of the last subscription a user stays
	// registered; 0 is not at all.
	Grace time.Duration
	// Concurrency is how many requests are made at a time. Default:
	// DefaultConcurrency.
	Concurrency int
	// Rate is how many users are read or changed one by one in a second at
	// most; 0 is no limit.
	Rate int
	// Takeover overwrites values of others.
	Takeover bool
	// Logger gets what an operator should know, and no names of users.
	// Required.
	Logger *slog.Logger
	// Observe, if set, is told of every change and every failure, from several
	// goroutines.
	Observe func(Event)
}

// Event is something that happened.
type Event struct {
	// State is what a user came to be: Registered, Unregistered, or one of the
	// states of a failure.
	State State
	// User is empty if it concerns all users, such as wrong credentials.
	User   string
	Reason Reason
	Err    error
}

// Reconciler makes the entries in Dovecot what they should be. Its methods may
// be used concurrently, before Start and after Stop as well.
type Reconciler struct {
	cfg     Config
	limit   *rate.Limiter
	backoff []time.Duration // for one user; a test has a shorter one
	pauses  []time.Duration // for everybody

	busy  locks
	due   *due
	again chan struct{} // makes a pass begin now

	owner                    string // of the turns that this reconciler takes
	other                    sighting
	progress                 atomic.Pointer[progress]
	registered, unregistered atomic.Int64 // users, since New
	trouble                  trouble
	cannotList               atomic.Pointer[error] // what keeps the last pass from seeing all users

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// New returns a reconciler that has not been started.
func New(cfg Config) (*Reconciler, error) {
	if cfg.Registrar == nil || cfg.Table == nil || cfg.Logger == nil {
		return nil, errors.New("registration needs a registrar, a table and a logger")
	}
	if cfg.Policy == "" {
		cfg.Policy = OnSubscribe
	}
	if cfg.Canonical == nil {
		cfg.Canonical = new(username.Names).Canonical
	}
	if cfg.Value == nil {
		cfg.Value = defaultTemplate
	}
	if l := cfg.Value.lookup; l != nil {
		l.canonical = cfg.Canonical
	}
	if cfg.Interval <= 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = DefaultConcurrency
	}
	if cfg.Observe == nil {
		cfg.Observe = func(Event) {}
	}
	limit := rate.Inf
	if cfg.Rate > 0 {
		limit = rate.Limit(cfg.Rate)
	}
	r := &Reconciler{
		cfg:     cfg,
		limit:   rate.NewLimiter(limit, max(cfg.Rate/10, 1)),
		backoff: []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute},
		pauses:  []time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute},
		due:     newDue(),
		again:   make(chan struct{}, 1),
		owner:   newOwner(),
	}
	r.trouble.log, r.trouble.observe = cfg.Logger, cfg.Observe
	return r, nil
}

// idle reports whether nothing can be done but when a user signs in.
func (r *Reconciler) idle() bool {
	own, isIMAP := r.cfg.Registrar.(*IMAP)
	return isIMAP && own.master.Name == ""
}

// minds reports whether the policy lets a user be looked at: with Off only those
// that an operator named.
func (r *Reconciler) minds(rec *record) bool { return r.cfg.Policy != Off || rec.ByHand != "" }

// Start begins to work, in the background.
func (r *Reconciler) Start() {
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	if r.idle() {
		return
	}
	r.wg.Go(func() { r.settleDue(ctx) })
	r.wg.Go(func() { r.watch(ctx) })
	r.wg.Go(func() { r.passes(ctx) })
}

// Stop ends what is under way and waits for it. What is not done is found again
// by the next start. It may be called more than once.
func (r *Reconciler) Stop() {
	if r.stop == nil {
		return
	}
	r.stop()
	r.wg.Wait()
}
