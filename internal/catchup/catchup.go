// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package catchup finds the new mails that Dovecot could not report, and accepts
// notifications of them in its place.
//
// Dovecot tries once or twice to report a mail and forgets it then. Whatever was
// down in those seconds costs people their notifications, unless somebody looks.
// A sweep ([Catcher.Sweep]) compares what each user's INBOX has with what was
// accepted, and accepts what is missing with the identity that Dovecot's own
// notification would have had.
//
// # What was accepted
//
// For each INBOX and UIDVALIDITY there is a mark: the UID up to which there is
// nothing left to tell, what was accepted beyond it, and which notifications
// came without a UID. The marks cost nothing where notifications are accepted:
// the instance that sweeps reads along what the queue has stored (accepted.go), and writes
// the marks that changed to a journal, once in a second (journal.go). An entry of
// the journal also says up to which group of accepted notifications its marks
// go, and the queue removes no group before an entry covers it
// ([queue.Journal]). So the journal and the queue together have everything that
// was ever accepted, at each moment, also when the process is killed at that
// moment: the next one reads the journal, then the queue from there on, and has
// the same marks. What a sweep accepts goes the same way: it is in the queue
// before it is in a mark.
//
// Entries hold whole marks, so that reading one twice changes nothing. When the
// journal has become long, all marks are written once and what is before them is
// dropped.
//
// # What is told
//
// A mail is told if its UID was not accepted, nor its headers without a UID, a
// while after it was seen ([settleTime]: Dovecot may be about to report it), and
// if it is still there, was not read, is not too old, and was delivered (laggard.go).
// The marks are brought up to date before that is decided, so that nothing which
// was accepted before is told again. A mailbox that is seen for the first time
// begins with what it has: nothing in it is told.
//
// # Several that share a store
//
// One of them reads along and sweeps, the one that has the lease
// ([lease.Lease]), for as long as its process lives. If
// two think they do, one of them cannot write the journal, whose writes name
// the entry before them, and starts again.
package catchup

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/jitter"
	"github.com/dovecotpush/caddy-dovecot-push/internal/lease"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// Defaults of a Config.
const (
	DefaultInterval = 15 * time.Minute
	DefaultMax      = 50
)

// Name is that of the journal and the table of the lease.
const Name = "catch_up"

var leaseKey = queue.Key{"lease"}

// Config of a catcher.
type Config struct {
	// Queue must keep the journal [Name] ([queue.Config.Journals]).
	Queue *queue.Queue
	// Alone tells that nobody but this process uses the queue.
	Alone bool
	// Source reads the mailboxes.
	Source Source
	// Users are those whom Dovecot notifies for.
	Users func(ctx context.Context) iter.Seq2[registration.Notified, error]
	// Find, if set, returns one of them by the login, if there is one.
	Find func(ctx context.Context, login string) (registration.Notified, bool)
	// List, if set, returns all logins that Dovecot has, sorted.
	List func(ctx context.Context) ([]string, error)
	// Decoder reads notifications.
	Decoder *notification.Decoder
	// Interval is how often all users are looked at, give or take a tenth.
	// Default: DefaultInterval.
	Interval time.Duration
	// Max is how many mails of one user are told at most in one sweep, the
	// newest. Default: DefaultMax.
	Max int
	// MaxAge is how old a mail may be that is told; 0 is no limit.
	MaxAge time.Duration
	// Seen tells mails that were read as well.
	Seen bool
	// Appended tells mails that were not delivered as well: those that a client
	// or doveadm stored, copied or moved to the mailbox.
	Appended bool
	// Logger gets what an operator should know, and no names of users. Required.
	Logger *slog.Logger
	// Observe, if set, is notified of what happens, from several goroutines.
	Observe Observer
}

// Observer is notified of what happens.
type Observer interface {
	// Found is called for each notification that was found and accepted.
	Found()
	// LeftOut is called for mails that were not reported and are not told, for
	// one of the [Reasons].
	LeftOut(reason Reason, mails int)
	// Failed is called for each user that could not be looked at, and once for
	// what concerns all.
	Failed(reason string)
}

// Reason is why a mail that was not reported is not told.
type Reason string

// The reasons.
const (
	ReasonSeen     Reason = "seen"
	ReasonAppended Reason = "appended"
	ReasonOld      Reason = "old"
	ReasonTooMany  Reason = "too_many"
	ReasonTooLarge Reason = "too_large"
)

// Reasons are all of them.
var Reasons = []Reason{ReasonSeen, ReasonAppended, ReasonOld, ReasonTooMany, ReasonTooLarge}

type silent struct{}

func (silent) Found()              {}
func (silent) LeftOut(Reason, int) {}
func (silent) Failed(string)       {}

// What Sweep fails with, besides the errors of a Source and of the queue.
var (
	// ErrElsewhere means that another one who shares the queue sweeps.
	ErrElsewhere = errors.New("another Caddy that shares the queue catches up")
	// ErrStopped means that the catcher was stopped.
	ErrStopped = errors.New("the catch-up was stopped")
)

// Catcher sweeps when it is time to, and when it is asked to.
type Catcher struct {
	cfg     Config
	journal *queue.Journal
	lease   *lease.Lease[struct{}]
	wanted  *wanted
	state   state
	// settle and refusedSettle are settleTime and refusedSettleTime; a test has
	// shorter ones.
	settle, refusedSettle time.Duration

	stop     context.CancelFunc
	stopped  context.Context //nolint:containedctx // it lives as long as the catcher
	wg       sync.WaitGroup
	forwards sync.WaitGroup
}

// New returns a catcher that has not been started.
func New(cfg Config) (*Catcher, error) {
	if cfg.Queue == nil || cfg.Source == nil || cfg.Users == nil || cfg.Logger == nil {
		return nil, errors.New("the catch-up needs a queue, a source, users and a logger")
	}
	if cfg.Interval <= 0 {
		cfg.Interval = DefaultInterval
	}
	if cfg.Max <= 0 {
		cfg.Max = DefaultMax
	}
	if cfg.Decoder == nil {
		cfg.Decoder = new(notification.Decoder)
	}
	if cfg.Observe == nil {
		cfg.Observe = silent{}
	}
	return &Catcher{
		cfg: cfg, journal: cfg.Queue.Journal(Name), wanted: newWanted(),
		lease:  lease.New[struct{}](lease.Config{Table: cfg.Queue.Table(Name), Key: leaseKey, Exclusive: cfg.Alone}),
		settle: settleTime, refusedSettle: refusedSettleTime,
	}, nil
}

// Start begins to work, in the background.
func (c *Catcher) Start() {
	ctx, stop := context.WithCancel(context.Background())
	c.stop, c.stopped = stop, ctx
	c.wg.Go(func() {
		c.run(ctx)
		c.wanted.fail(ErrStopped)
	})
}

// Stop ends what is under way and waits for it. The next start goes on with it.
// It may be called more than once.
func (c *Catcher) Stop() {
	if c.stop == nil {
		return
	}
	c.stop()
	c.wg.Wait()
	c.forwards.Wait()
}

// run takes the lease and works, again and again, until ctx ends.
func (c *Catcher) run(ctx context.Context) {
	failing := false
	for ctx.Err() == nil {
		err := c.awaitLease(ctx)
		if err == nil {
			err = c.lease.Work(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, c.lead(ctx) })
		}
		if ctx.Err() != nil {
			return
		}
		if err != nil && !failing && !errors.Is(err, queue.ErrChanged) && !errors.Is(err, lease.ErrLost) && !errors.Is(err, errGap) {
			failing = true
			c.cfg.Logger.Warn("the catch-up cannot begin, and attempts it again", "error", err)
		}
		pause(ctx, retryPause)
	}
}

// awaitLease waits until nobody else has the lease, and takes it. Commands fail
// until then.
func (c *Catcher) awaitLease(ctx context.Context) error {
	for {
		_, elsewhere, err := c.lease.Elsewhere(ctx)
		if err != nil {
			return err
		}
		if !elsewhere {
			if taken, err := c.lease.Take(ctx, struct{}{}); taken || err != nil {
				return err
			}
		}
		c.wanted.fail(ErrElsewhere)
		if pause(ctx, lease.Poll); ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

// lead does the work of the one who has the lease, until ctx ends or somebody
// else takes it.
func (c *Catcher) lead(ctx context.Context) error {
	b := newBook(c.journal, c.cfg.Decoder, c.cfg.Logger)
	if err := b.load(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var writing sync.WaitGroup
	writing.Go(func() {
		if err := b.run(ctx); err != nil {
			cancel(err)
		}
	})
	c.state.lead(b)
	if !c.cfg.Alone {
		writing.Go(func() { c.takeForwarded(ctx) })
	}
	c.sweeps(ctx, b)
	cancel(nil)
	c.state.lead(nil)
	writing.Wait()
	return context.Cause(ctx)
}

// sweeps makes a sweep when it is time to, until ctx ends.
func (c *Catcher) sweeps(ctx context.Context, b *book) {
	next := time.Now() // at the start
	why := Start
	failures := 0
	for number := uint32(1); ; number++ {
		timer := time.NewTimer(time.Until(next))
		var all []request
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
			all = []request{{why: why, all: true}}
		case <-c.wanted.arrived:
		}
		timer.Stop()
		all = append(all, c.wanted.take()...)
		if len(all) == 0 {
			continue
		}
		s := newSweep(c, b, number, all)
		err := s.run(ctx)
		// Its result holds also if Caddy is killed in the next moment.
		err = errors.Join(err, b.sync(ctx))
		s.finish(ctx, err)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			why = Retry
			next = time.Now().Add(spread(retries[min(failures, len(retries)-1)]))
			failures++
		case s.all:
			why, failures = Interval, 0
			next = time.Now().Add(spread(c.cfg.Interval))
		}
	}
}

// retries are the pauses after a sweep that could not be ended. All users are
// looked at after them: whatever kept Dovecot from answering may have kept it
// from reporting.
var retries = []time.Duration{5 * time.Second, 15 * time.Second, time.Minute}

// spread returns d, give or take a tenth.
func spread(d time.Duration) time.Duration { return jitter.Spread(d, 0.1) }
