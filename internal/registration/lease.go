// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// renewInterval is how often the leader renews its lease.
	renewInterval = 3 * time.Second
	// missedRenewals is how many missed renewals end a lease.
	missedRenewals = 4
	// poll is how often the others check whether the lease has ended.
	poll = time.Second
	// clockSkew is how far the clocks of instances that share the table may
	// differ.
	clockSkew = 5 * time.Minute
	// releaseTimeout bounds releasing a lease while stopping.
	releaseTimeout = 5 * time.Second
)

// lease elects the one that makes passes, among instances that share the
// store and among the configurations before and after a reload. It also keeps a
// reload from making a pass too early.
type lease struct {
	// Owner is making a pass, or made the last one.
	Owner   string `json:"owner"`
	Running bool   `json:"running,omitempty"`
	// Renewals grows while it runs.
	Renewals int `json:"beat,omitempty"`
	// Finished is when the last complete pass ended.
	Finished time.Time `json:"finished,omitzero"`
	// Settings are the settings it was made with.
	Settings string `json:"settings,omitempty"`
}

var leaseKey = queue.Key{"pass"}

// process identifies this process among those that use the table.
var process = rand.Text()

func newOwner() string { return process + "/" + rand.Text() }

// lastSeen is when another instance's lease was last seen to change.
type lastSeen struct {
	revision uint64
	at       time.Time
}

// passIfLeader makes a pass if it is due and nobody else is making one. It
// returns how long to wait for the next.
func (r *Reconciler) passIfLeader(ctx context.Context, force bool) (wait time.Duration, err error) {
	l, revision, err := r.readLease(ctx)
	if err != nil {
		return 0, err
	}
	if l.Running && !r.leaseExpired(l, revision) {
		return poll, nil
	}
	if err := r.syncSubscribers(ctx); err != nil {
		return 0, err
	}
	rest := time.Until(l.Finished.Add(r.cfg.Interval))
	if rest > r.cfg.Interval+clockSkew {
		rest = 0 // a clock that was wrong at its end must not delay the next one
	}
	if !force && !l.Running && l.Settings == r.settings() && rest > 0 {
		return min(jitter(rest), r.cfg.Interval), nil
	}
	l = lease{Owner: r.owner, Running: true, Settings: r.settings()}
	if revision, err = r.writeLease(ctx, l, revision); err != nil {
		if changedMeanwhile(err) {
			return poll, nil
		}
		return 0, err
	}
	if err := r.passAsLeader(ctx, l, revision); err != nil {
		return 0, err
	}
	return jitter(r.cfg.Interval), nil
}

// passAsLeader makes a pass while it renews its lease.
func (r *Reconciler) passAsLeader(ctx context.Context, l lease, revision uint64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(renewInterval)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			l.Renewals++
			next, err := r.writeLease(ctx, l, revision)
			if changedMeanwhile(err) {
				cancel(errors.New("another instance has taken the lease"))
				return
			}
			if err == nil {
				revision = next
			}
		}
	}()
	err := r.pass(ctx)
	close(stop)
	<-stopped
	l.Running = false
	if err == nil {
		l.Finished = time.Now().UTC()
	}
	release, cancelRelease := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancelRelease()
	if _, rerr := r.writeLease(release, l, revision); rerr != nil && !changedMeanwhile(rerr) && err == nil {
		err = rerr
	}
	return err
}

// leaseExpired reports whether the owner of the lease is gone.
func (r *Reconciler) leaseExpired(l lease, revision uint64) bool {
	if r.cfg.Exclusive && !strings.HasPrefix(l.Owner, process+"/") {
		return true
	}
	if r.lastSeen.revision != revision {
		r.lastSeen = lastSeen{revision, time.Now()}
	}
	return time.Since(r.lastSeen.at) > missedRenewals*renewInterval
}

// settings returns what requires another pass when it changes.
func (r *Reconciler) settings() string {
	return fmt.Sprintf("%s %T %q %v", r.cfg.Policy, r.cfg.Registrar, r.cfg.Value.fields, r.cfg.Takeover)
}

func (r *Reconciler) readLease(ctx context.Context) (l lease, revision uint64, err error) {
	entry, err := r.cfg.Table.Get(ctx, leaseKey)
	if errors.Is(err, queue.ErrNotFound) {
		return lease{}, 0, nil
	}
	if err != nil {
		return lease{}, 0, err
	}
	_ = json.Unmarshal(entry.Value, &l) // one that cannot be read is none
	return l, entry.Revision, nil
}

func (r *Reconciler) writeLease(ctx context.Context, l lease, revision uint64) (uint64, error) {
	value, err := json.Marshal(l)
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		return r.cfg.Table.Create(ctx, leaseKey, value)
	}
	return r.cfg.Table.Update(ctx, leaseKey, value, revision)
}
