// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// otherFirst is how long the one who took a wish has to follow it before
	// those do who see it in the table.
	otherFirst = 2 * time.Second
	// watchAgain is how soon after a failure of the store it is read anew.
	watchAgain = time.Second
)

// watch makes appointments for wishes that others put into the table, or that
// were left there: another Caddy, or the configuration before a reload.
func (r *Reconciler) watch(ctx context.Context) {
	for ctx.Err() == nil {
		old := true
		_ = r.cfg.Table.Watch(ctx, allUsers, func(e queue.Entry) { r.notice(e, old) }, func() { old = false })
		select {
		case <-ctx.Done():
		case <-time.After(watchAgain):
		}
	}
}

// notice looks at what was written about a user. old tells that it was there
// before.
func (r *Reconciler) notice(e queue.Entry, old bool) {
	if e.Deleted {
		return
	}
	rec := r.parse(e)
	if !r.minds(&rec) {
		return
	}
	a := appointment{noticed: true}
	switch {
	case old && (rec.State == Wanted || rec.State == Failed):
		a.at = time.Now()
	case rec.State == Wanted:
		a.at = time.Now().Add(otherFirst)
	case !rec.Until.IsZero():
		a.at = rec.Until
	default:
		return
	}
	r.due.put(e.Key[1], a)
}

// stillDue tells whether nobody else has followed a wish meanwhile.
func (r *Reconciler) stillDue(ctx context.Context, user string) bool {
	rec, _, err := r.load(ctx, user)
	ended := !rec.Until.IsZero() && !time.Now().Before(rec.Until)
	return err != nil || rec.State == Wanted || rec.State == Failed || ended
}
