// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"
)

// passes looks at all users every interval, until ctx ends.
func (r *Reconciler) passes(ctx context.Context) {
	failures := 0
	force := false
	for {
		wait, err := r.turn(ctx, force)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if reason, _ := r.trouble.now(); reason == "" && failures == 0 {
				r.cfg.Logger.Error("registrations cannot be looked at", "error", err)
			}
			wait, force = jitter(r.pauses[min(failures, len(r.pauses)-1)]), true
			failures++
		default:
			failures, force = 0, false
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-r.again:
			force = true
		}
		timer.Stop()
	}
}

// passNow makes a pass begin, if none is under way.
func (r *Reconciler) passNow() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

// pass looks at all users once.
func (r *Reconciler) pass(ctx context.Context) error {
	records, err := r.records(ctx)
	if err != nil {
		return err
	}
	maps.DeleteFunc(records, func(_ string, k known) bool { return !r.minds(&k.record) })
	users := slices.Sorted(maps.Keys(records))
	var listing []string
	r.cannotList.Store(nil)
	if r.cfg.Policy == All || len(users) >= listFrom {
		var refused []string
		listing, refused, err = r.list(ctx)
		switch {
		case errors.Is(err, ErrCannotList) && r.cfg.Policy == All:
			cause := err
			r.cannotList.Store(&cause)
			r.cfg.Logger.Error("not all users can be registered, but only those that subscribe or are named: "+
				"with \"register all\" Dovecot must list them", "error", err)
		case err != nil && !errors.Is(err, ErrCannotList):
			return err
		case len(refused) > 0 && r.cfg.Policy == All:
			r.cfg.Logger.Warn("Dovecot lists users under names that no user can have; they are left out", "users", len(refused))
		}
	}
	if r.cfg.Policy == All {
		users = union(users, listing)
	}
	p := r.newProgress(len(users))
	r.progress.Store(p)
	ended := make(chan struct{})
	r.wg.Go(func() { r.logProgress(p, ended) })
	s := sweep{r: r, records: records, takeover: r.cfg.Takeover, report: p.note}
	err = s.run(ctx, users, listing)
	close(ended)
	p.end(err)
	if err == nil {
		r.trouble.end() // whatever it was: Dovecot was asked about all of them
		r.sum(p)
		err = r.forget(ctx, records)
	}
	return err
}

// union merges two sorted lists.
func union(a, b []string) []string {
	if len(a) == 0 {
		return b
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// forget removes what is remembered of users whom Dovecot has not known for a
// while.
func (r *Reconciler) forget(ctx context.Context, records map[string]known) error {
	for user, k := range records {
		if k.State != UnknownUser || time.Since(k.Since) < keepUnknown {
			continue
		}
		if err := r.cfg.Table.Delete(ctx, userKey(user), k.revision); err != nil && !changedMeanwhile(err) {
			return storeError(err)
		}
	}
	return nil
}
