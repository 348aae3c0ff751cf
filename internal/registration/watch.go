// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// otherInstanceFirst is how long the instance that stored a desired state
	// has to act on it before those that see it in the table do.
	otherInstanceFirst = 2 * time.Second
	// watchRetry is how long to wait after a failure of the store before it is
	// read again.
	watchRetry = time.Second
)

// watch schedules users whose desired state is in the table and was stored by
// another instance, or by the configuration before a reload.
func (r *Reconciler) watch(ctx context.Context) {
	for ctx.Err() == nil {
		old := true
		_ = r.cfg.Table.Watch(ctx, allUsers, func(e queue.Entry) { r.scheduleFromTable(e, old) }, func() { old = false })
		select {
		case <-ctx.Done():
		case <-time.After(watchRetry):
		}
	}
}

// scheduleFromTable schedules a user whose record was written. old means that
// it was there before.
func (r *Reconciler) scheduleFromTable(e queue.Entry, old bool) {
	if e.Deleted {
		return
	}
	rec := r.parse(e)
	if !r.manages(&rec) {
		return
	}
	a := task{fromTable: true}
	switch {
	case old && (rec.State == Wanted || rec.State == Failed):
		a.at = time.Now()
	case rec.State == Wanted:
		a.at = time.Now().Add(otherInstanceFirst)
	case !rec.Until.IsZero():
		a.at = rec.Until
	default:
		return
	}
	r.schedule.add(e.Key[1], a)
}

// stillDue reports whether no other instance has acted in the meantime.
func (r *Reconciler) stillDue(ctx context.Context, user string) bool {
	rec, _, err := r.load(ctx, user)
	ended := !rec.Until.IsZero() && !time.Now().Before(rec.Until)
	return err != nil || rec.State == Wanted || rec.State == Failed || ended
}
