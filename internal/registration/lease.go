// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"fmt"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/lease"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// clockSkew is how far the clocks of instances that share the table may differ.
const clockSkew = 5 * time.Minute

// passNote is what the one that makes a pass leaves for the others. It also keeps a
// reload from making a pass too early.
type passNote struct {
	// Finished is when the last complete pass ended; zero during one.
	Finished time.Time `json:"finished,omitzero"`
	// Settings are the settings it was made with.
	Settings string `json:"settings,omitempty"`
}

var leaseKey = queue.Key{"pass"}

func newLease(cfg *Config) *lease.Lease[passNote] {
	return lease.New[passNote](lease.Config{Table: cfg.Table, Key: leaseKey, Exclusive: cfg.Exclusive})
}

// passIfLeader makes a pass if it is due and nobody else is making one. It
// returns how long to wait for the next.
func (r *Reconciler) passIfLeader(ctx context.Context, force bool) (wait time.Duration, err error) {
	last, elsewhere, err := r.lease.Elsewhere(ctx)
	if err != nil {
		return 0, err
	}
	if elsewhere {
		return lease.Poll, nil
	}
	if err := r.syncSubscribers(ctx); err != nil {
		return 0, err
	}
	rest := time.Until(last.Finished.Add(r.cfg.Interval))
	if rest > r.cfg.Interval+clockSkew {
		rest = 0 // a clock that was wrong at its end must not delay the next one
	}
	if !force && last.Settings == r.settings() && rest > 0 {
		return min(spread(rest), r.cfg.Interval), nil
	}
	note := passNote{Settings: r.settings()}
	if taken, err := r.lease.Take(ctx, note); err != nil || !taken {
		return lease.Poll, err
	}
	err = r.lease.Work(ctx, func(ctx context.Context) (passNote, error) {
		err := r.pass(ctx)
		if err == nil {
			note.Finished = time.Now().UTC()
		}
		return note, err
	})
	if err != nil {
		return 0, err
	}
	return spread(r.cfg.Interval), nil
}

// settings returns what requires another pass when it changes.
func (r *Reconciler) settings() string {
	return fmt.Sprintf("%s %T %q %v", r.cfg.Policy, r.cfg.Registrar, r.cfg.Value.fields, r.cfg.Takeover)
}
