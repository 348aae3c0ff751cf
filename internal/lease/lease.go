// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package lease elects one of those that share a store, to do what only one of
// them may do: other processes, and the configurations before and after a reload.
//
// The holder of a lease renews it. The others watch its entry in a table, and take
// the lease when the entry has not changed for a while. Clocks of different
// machines are not compared. Within a process that has the store for itself
// nothing is renewed or waited for, because it knows who of its own holds a lease.
package lease

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// renewInterval is how often the holder renews its lease.
	renewInterval = 3 * time.Second
	// missedRenewals is how many missed renewals end a lease.
	missedRenewals = 4
	// Poll is how often the others should check whether it has ended.
	Poll = time.Second
	// releaseTimeout bounds releasing a lease.
	releaseTimeout = 5 * time.Second
)

// ErrLost means that somebody else has the lease, or that it could not be renewed
// in time.
var ErrLost = errors.New("another instance has taken the lease")

// Config of a lease.
type Config struct {
	// Table has the entry of the lease under Key.
	Table *queue.Table
	Key   queue.Key
	// Exclusive means that no other process uses the table, so that a lease that
	// another process took has ended with it.
	Exclusive bool
}

// Lease is one candidate for a lease. Holders leave a note for the next one. Its
// methods are not safe for concurrent use.
type Lease[Note any] struct {
	cfg   Config
	owner string
	// last is the entry as it was seen last, and changed is when that became so.
	last     entry[Note]
	revision uint64
	changed  time.Time
}

// entry is what the table has.
type entry[Note any] struct {
	// Owner holds the lease, or held it last.
	Owner string `json:"owner"`
	Held  bool   `json:"running,omitempty"`
	// Renewals makes the entry change while it is held.
	Renewals int  `json:"beat,omitempty"`
	Note     Note `json:"note"`
}

// held are the owners in this process that hold their lease.
var held sync.Map

// New returns a candidate.
func New[Note any](cfg Config) *Lease[Note] {
	return &Lease[Note]{cfg: cfg, owner: rand.Text()}
}

// Elsewhere reads the lease and reports whether somebody else holds it. The note
// is that of the last holder.
func (l *Lease[Note]) Elsewhere(ctx context.Context) (note Note, elsewhere bool, err error) {
	value, err := l.cfg.Table.Get(ctx, l.cfg.Key)
	if err != nil && !errors.Is(err, queue.ErrNotFound) {
		return note, false, err
	}
	if l.changed.IsZero() || l.revision != value.Revision {
		l.revision, l.changed = value.Revision, time.Now()
	}
	l.last = entry[Note]{}
	_ = json.Unmarshal(value.Value, &l.last) // one that cannot be read is none
	return l.last.Note, l.last.Held && !l.expired(), nil
}

// expired reports whether the holder is gone.
func (l *Lease[Note]) expired() bool {
	if _, here := held.Load(l.last.Owner); here || l.cfg.Exclusive {
		return !here
	}
	return time.Since(l.changed) > missedRenewals*renewInterval
}

// Take takes the lease as [Lease.Elsewhere] has seen it, and leaves the note. It
// reports whether nobody was faster.
func (l *Lease[Note]) Take(ctx context.Context, note Note) (bool, error) {
	taken := entry[Note]{Owner: l.owner, Held: true, Renewals: l.last.Renewals + 1, Note: note}
	err := l.write(ctx, taken)
	if changedMeanwhile(err) {
		return false, nil
	}
	if err == nil {
		held.Store(l.owner, nil)
	}
	return err == nil, err
}

// Work calls work, after Take, and renews the lease until work returns; its
// context ends with [ErrLost] when the lease is lost. Then the lease is released,
// with the note that work returns. The error is that of work, or else that of
// the release.
func (l *Lease[Note]) Work(ctx context.Context, work func(context.Context) (Note, error)) error {
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var renewing sync.WaitGroup
	if !l.cfg.Exclusive {
		renewing.Go(func() { l.renew(working, cancel) })
	}
	note, err := work(working)
	if errors.Is(context.Cause(working), ErrLost) && errors.Is(err, context.Canceled) {
		err = ErrLost
	}
	cancel(nil)
	renewing.Wait()
	held.Delete(l.owner)
	release, done := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer done()
	last := l.last
	last.Held, last.Note = false, note
	if releaseErr := l.write(release, last); err == nil && !changedMeanwhile(releaseErr) {
		err = releaseErr
	}
	return err
}

// renew renews the lease until ctx ends. It loses the lease if another one has
// it, or before others take it because it could not be renewed.
func (l *Lease[Note]) renew(ctx context.Context, lose context.CancelCauseFunc) {
	tick := time.NewTicker(renewInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		next := l.last
		next.Renewals++
		err := l.write(ctx, next)
		if changedMeanwhile(err) || err != nil && time.Since(l.changed) > (missedRenewals-1)*renewInterval {
			lose(ErrLost)
			return
		}
	}
}

// write replaces the entry that was seen last.
func (l *Lease[Note]) write(ctx context.Context, e entry[Note]) error {
	value, err := json.Marshal(e)
	if err != nil {
		return err
	}
	var revision uint64
	if l.revision == 0 {
		revision, err = l.cfg.Table.Create(ctx, l.cfg.Key, value)
	} else {
		revision, err = l.cfg.Table.Update(ctx, l.cfg.Key, value, l.revision)
	}
	if err == nil {
		l.last, l.revision, l.changed = e, revision, time.Now()
	}
	return err
}

func changedMeanwhile(err error) bool {
	return errors.Is(err, queue.ErrChanged) || errors.Is(err, queue.ErrExists)
}
