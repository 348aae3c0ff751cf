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

// passLoop makes passes over all users every interval, until ctx ends.
func (r *Reconciler) passLoop(ctx context.Context) {
	failures := 0
	force := false
	for {
		wait, err := r.passIfLeader(ctx, force)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if reason, _ := r.outage.current(); reason == "" && failures == 0 {
				r.cfg.Logger.Error("cannot check registrations", "error", err)
			}
			wait, force = spread(r.pauses[min(failures, len(r.pauses)-1)]), true
			failures++
		default:
			failures, force = 0, false
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		case <-r.passRequests:
			force = true
		}
		timer.Stop()
	}
}

// passNow starts a pass, if none is running.
func (r *Reconciler) passNow() {
	select {
	case r.passRequests <- struct{}{}:
	default:
	}
}

// pass reconciles all users once.
func (r *Reconciler) pass(ctx context.Context) error {
	records, err := r.records(ctx)
	if err != nil {
		return err
	}
	maps.DeleteFunc(records, func(_ string, k versioned) bool { return !r.manages(&k.record) })
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
			r.cfg.Logger.Error("only users who subscribe or are named can be registered: "+
				"with \"register all\" Dovecot must list them", "error", err)
		case err != nil && !errors.Is(err, ErrCannotList):
			return err
		case len(refused) > 0 && r.cfg.Policy == All:
			r.cfg.Logger.Warn("Dovecot lists names that no user can have; they are skipped", "users", len(refused))
		}
	}
	if r.cfg.Policy == All {
		users = union(users, listing)
	}
	p := r.newProgress(len(users))
	r.progress.Store(p)
	ended := make(chan struct{})
	r.wg.Go(func() { r.logProgress(p, ended) })
	s := bulk{r: r, records: records, takeover: r.cfg.Takeover, result: p.note}
	err = s.run(ctx, users, listing)
	close(ended)
	p.end(err)
	if err == nil {
		r.outage.end() // whatever it was: all users have been read
		r.logSummary(p)
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

// forget removes the records of users whom Dovecot has not known for a while.
func (r *Reconciler) forget(ctx context.Context, records map[string]versioned) error {
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
