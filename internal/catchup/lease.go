// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// The lease is held as that of the registration is, and for as long as the
// process lives: its holder reads along.
const (
	// renewal is how often the holder shows that it is alive.
	renewal = 3 * time.Second
	// renewals is after how many missed ones the lease is free.
	renewals = 4
	// poll is how often the others look whether it is.
	poll = time.Second
	// releaseTimeout bounds what is done while stopping.
	releaseTimeout = 5 * time.Second
)

var (
	leaseKey     = queue.Key{"lease"}
	errLeaseLost = errors.New("another one has the lease of the catch-up")
	// process tells this process from others that use the table.
	process = rand.Text()
)

// lease is the right to read along and to sweep.
type lease struct {
	table *queue.Table
	alone bool
	owner string

	revision uint64    // of the entry that was seen last
	changed  time.Time // when it changed
}

// tenure is what the table has about the lease.
type tenure struct {
	Owner string `json:"owner"`
	// Held is false when the owner has given it back.
	Held bool `json:"held"`
	// Beat grows while it is held.
	Beat int `json:"beat"`
}

func newLease(table *queue.Table, alone bool) *lease {
	return &lease{table: table, alone: alone, owner: process + "/" + rand.Text()}
}

// hold waits for the lease and calls work with a context that ends when it is
// lost. elsewhere is called while another one has it.
func (l *lease) hold(ctx context.Context, elsewhere func(), work func(context.Context) error) error {
	var t tenure
	for {
		entry, err := l.table.Get(ctx, leaseKey)
		if err != nil && !errors.Is(err, queue.ErrNotFound) {
			return err
		}
		t = tenure{}
		_ = json.Unmarshal(entry.Value, &t) // one that cannot be read is none
		if !t.Held || l.isFree(t, entry.Revision) {
			t = tenure{Owner: l.owner, Held: true, Beat: t.Beat + 1}
			err := l.write(ctx, &t, entry.Revision)
			if err == nil {
				break
			}
			if !changedMeanwhile(err) {
				return err
			}
		}
		elsewhere()
		if pause(ctx, poll); ctx.Err() != nil {
			return ctx.Err()
		}
	}
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	renewing := make(chan struct{})
	go func() {
		defer close(renewing)
		l.renew(working, &t, cancel)
	}()
	err := work(working)
	cancel(nil)
	<-renewing
	t.Held = false
	last, done := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer done()
	_ = l.write(last, &t, l.revision) // if it fails, the others wait a little longer
	return err
}

// isFree reports whether the holder is gone.
func (l *lease) isFree(t tenure, revision uint64) bool {
	if l.alone && !strings.HasPrefix(t.Owner, process+"/") {
		return true
	}
	if l.revision != revision {
		l.revision, l.changed = revision, time.Now()
	}
	return time.Since(l.changed) > renewals*renewal
}

// renew shows that the holder is alive, until ctx ends. It loses the lease when
// another one has it, or when it cannot show that for too long.
func (l *lease) renew(ctx context.Context, t *tenure, lose context.CancelCauseFunc) {
	tick := time.NewTicker(renewal)
	defer tick.Stop()
	renewed := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if l.alone { // the process is the lease
			continue
		}
		t.Beat++
		err := l.write(ctx, t, l.revision)
		switch {
		case err == nil:
			renewed = time.Now()
		case changedMeanwhile(err), time.Since(renewed) > (renewals-1)*renewal:
			lose(errLeaseLost)
			return
		}
	}
}

func (l *lease) write(ctx context.Context, t *tenure, revision uint64) error {
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	var next uint64
	if revision == 0 {
		next, err = l.table.Create(ctx, leaseKey, value)
	} else {
		next, err = l.table.Update(ctx, leaseKey, value, revision)
	}
	if err == nil {
		l.revision, l.changed = next, time.Now()
	}
	return err
}

func changedMeanwhile(err error) bool {
	return errors.Is(err, queue.ErrChanged) || errors.Is(err, queue.ErrExists)
}
