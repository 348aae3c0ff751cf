// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package registration keeps METADATA entries in Dovecot, which make it notify
// for exactly the users it should.
//
// The desired state of a user depends on their subscriptions
// ([Reconciler.SetSubscribed]), on an operator's decision
// ([Reconciler.Register], [Reconciler.Unregister]) and on the configured
// [Policy]. A [Reconciler] compares it with the entry in Dovecot and makes the
// necessary changes through a [Registrar]: by DoveAdm ([DoveAdm]) or by IMAP
// ([IMAP]).
//
// Dovecot is the source of truth for the observed state. The desired state is
// kept in a table of the queue's store, one entry for each user. A user is
// reconciled
//
//   - when the desired state changes: at once (schedule.go, watch.go);
//   - when an attempt failed: after a growing delay (schedule.go);
//   - in a pass over all users, every interval, which finds entries that are
//     missing or wrong, such as that of an INBOX that was deleted and created
//     again (pass.go, bulk.go). Instances that share the table elect one of
//     them to make the pass (lease.go).
//
// Reconciling (reconcile.go) is idempotent: after a crash the next pass finds
// what remains to be done.
//
// A mark in the value distinguishes our entries from those that something else
// has set. The latter are not overwritten unless requested (value.go).
package registration

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/dovecotpush/caddy-dovecot-push/internal/lease"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// Policy decides who is registered without being named by an operator.
type Policy string

// The policies.
const (
	// OnSubscribe registers users who have a subscription.
	OnSubscribe Policy = "on_subscribe"
	// All registers every user that Dovecot lists.
	All Policy = "all"
	// Off changes only the entries of users that an operator names.
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
	// Table stores the desired state.
	Table *queue.Table
	// Exclusive means that no other process uses the table, so that a pass that
	// another process started has ended with it.
	Exclusive bool
	// Subscribers, if set, returns all users who have subscriptions now. It is
	// called before each pass, and makes up for calls of SetSubscribed that
	// failed or were never made.
	Subscribers func(ctx context.Context) ([]string, error)
	// Policy defaults to OnSubscribe.
	Policy Policy
	// Canonical returns Dovecot's name for a login. It fails for what cannot be
	// a name. Default: the login in lower case.
	Canonical func(ctx context.Context, login string) (string, error)
	// Value makes the values. Default: user={user}.
	Value *Template
	// Interval is how often there is a pass over all users, plus or minus a
	// tenth. Default: DefaultInterval.
	Interval time.Duration
	// Grace is how long a user stays registered after the last subscription has
	// ended.
	Grace time.Duration
	// Concurrency is how many requests are made at a time. Default:
	// DefaultConcurrency.
	Concurrency int
	// Rate limits how many users are read or changed one by one in a second. 0
	// means no limit.
	Rate int
	// Takeover overwrites values that something else has set.
	Takeover bool
	// Logger gets what an operator should know, and no names of users.
	// Required.
	Logger *slog.Logger
	// Observe, if set, is called with every change and every failure,
	// concurrently.
	Observe func(Event)
}

// Event is something that happened.
type Event struct {
	// State is the user's new state: Registered, Unregistered, or one of the
	// states of a failure.
	State State
	// User is empty if it concerns all users, such as wrong credentials.
	User   string
	Reason Reason
	Err    error
}

// Reconciler reconciles the entries in Dovecot with the desired state. Its
// methods are safe for concurrent use, also before Start and after Stop.
type Reconciler struct {
	cfg     Config
	limit   *rate.Limiter
	backoff []time.Duration // for one user; tests shorten it
	pauses  []time.Duration // for everybody

	busy         locks
	schedule     *schedule
	passRequests chan struct{} // starts a pass now

	lease                    *lease.Lease[passNote]
	progress                 atomic.Pointer[progress]
	registered, unregistered atomic.Int64 // users, since New
	outage                   outage
	cannotList               atomic.Pointer[error] // why the last pass could not see all users

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
		cfg:          cfg,
		limit:        rate.NewLimiter(limit, max(cfg.Rate/10, 1)),
		backoff:      []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, 30 * time.Minute},
		pauses:       []time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute},
		schedule:     newSchedule(),
		passRequests: make(chan struct{}, 1),
		lease:        newLease(&cfg),
	}
	r.outage.log, r.outage.observe = cfg.Logger, cfg.Observe
	return r, nil
}

// idle reports whether users can be registered only while they sign in.
func (r *Reconciler) idle() bool {
	own, isIMAP := r.cfg.Registrar.(*IMAP)
	return isIMAP && own.master.Name == ""
}

// manages reports whether the policy covers a user: Off covers only those that
// an operator named.
func (r *Reconciler) manages(rec *record) bool { return r.cfg.Policy != Off || rec.ByHand != "" }

// Start begins to work, in the background.
func (r *Reconciler) Start() {
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	if r.idle() {
		return
	}
	r.wg.Go(func() { r.runSchedule(ctx) })
	r.wg.Go(func() { r.watch(ctx) })
	r.wg.Go(func() { r.passLoop(ctx) })
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
