// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// State is the state of a user's registration.
type State string

// The states.
const (
	// Wanted: to be registered, and not attempted yet.
	Wanted State = "wanted"
	// Registered: the entry is what it should be.
	Registered State = "registered"
	// Conflict: something else has set an entry, which is not overwritten.
	Conflict State = "conflict"
	// Failed: the last attempt failed, and there will be another.
	Failed State = "failed"
	// UnknownUser: Dovecot does not know the user, so nothing is desired any
	// more. The record is kept for a week, for operators to see.
	UnknownUser State = "unknown_user"
	// Unregistered: there is no entry of ours.
	Unregistered State = "unregistered"
)

// keepUnknown is how long the record of an unknown user is kept.
const keepUnknown = 7 * 24 * time.Hour

// What an operator can decide about a user.
const (
	byHandRegistered   = "registered"
	byHandUnregistered = "unregistered"
)

// record is what the table stores about a user.
type record struct {
	// ByHand is an operator's decision, which takes precedence.
	ByHand string `json:"by_hand,omitempty"`
	// Subscribed is whether the user has subscriptions.
	Subscribed bool `json:"subscribed,omitempty"`
	// Until is the end of the grace time after the last of them.
	Until time.Time `json:"until,omitzero"`
	// SignedIn is whether the user signed in, if that is the only way to
	// register.
	SignedIn bool `json:"signed_in,omitempty"`

	State  State     `json:"state"`
	Reason Reason    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`
}

// wanted reports whether the user should be registered.
func (rec *record) wanted(policy Policy, now time.Time) bool {
	switch {
	case rec.ByHand != "":
		return rec.ByHand == byHandRegistered
	case policy == Off:
		return false
	case policy == All:
		return rec.State != UnknownUser
	default:
		return rec.Subscribed || rec.SignedIn || now.Before(rec.Until)
	}
}

// setState changes the state, if it differs.
func (rec *record) setState(state State, reason Reason) {
	if rec.State != state || rec.Reason != reason {
		rec.State, rec.Reason, rec.Since = state, reason, time.Now().UTC().Truncate(time.Second)
	}
}

// idle reports whether nothing needs to be stored about the user.
func (rec *record) idle() bool {
	return rec.State == Unregistered && rec.ByHand == "" && !rec.Subscribed && !rec.SignedIn
}

// allUsers is where the records are in the table.
var allUsers = queue.Key{"user"}

func userKey(user string) queue.Key { return append(allUsers[:1:1], user) }

// load reads the record of a user and its revision, 0 if there is none.
func (r *Reconciler) load(ctx context.Context, user string) (record, uint64, error) {
	entry, err := r.cfg.Table.Get(ctx, userKey(user))
	if errors.Is(err, queue.ErrNotFound) {
		return record{State: Unregistered}, 0, nil
	}
	if err != nil {
		return record{}, 0, storeError(err)
	}
	return r.parse(entry), entry.Revision, nil
}

// parse reads a record. An unreadable one counts as a failure: the next change
// of the user's state replaces it.
func (r *Reconciler) parse(entry queue.Entry) record {
	var rec record
	if err := json.Unmarshal(entry.Value, &rec); err != nil {
		r.cfg.Logger.Error("the stored registration of a user cannot be read; it starts again", "error", err)
		return record{State: Failed, Reason: ReasonStore}
	}
	return rec
}

// storeError distinguishes a failure of the store from a name that it cannot
// store.
func storeError(err error) error {
	switch {
	case err == nil, changedMeanwhile(err):
		return err
	case errors.Is(err, queue.ErrKey):
		return fmt.Errorf("%w: %w", ErrName, err)
	}
	return fmt.Errorf("%w: %w", errStore, err)
}

// save writes the record of a user that was read at the given revision. It
// fails with queue.ErrChanged or queue.ErrExists if somebody else was faster.
func (r *Reconciler) save(ctx context.Context, user string, rec record, revision uint64) error {
	if rec.idle() {
		if revision == 0 {
			return nil
		}
		return storeError(r.cfg.Table.Delete(ctx, userKey(user), revision))
	}
	value, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	if revision == 0 {
		_, err = r.cfg.Table.Create(ctx, userKey(user), value)
	} else {
		_, err = r.cfg.Table.Update(ctx, userKey(user), value, revision)
	}
	return storeError(err)
}

// changedMeanwhile reports whether a record must be read again.
func changedMeanwhile(err error) bool {
	return errors.Is(err, queue.ErrChanged) || errors.Is(err, queue.ErrExists)
}

// update changes the record of a user.
func (r *Reconciler) update(ctx context.Context, user string, change func(*record)) error {
	for {
		rec, revision, err := r.load(ctx, user)
		if err != nil {
			return err
		}
		before := rec
		change(&rec)
		if rec == before {
			return nil
		}
		if err := r.save(ctx, user, rec, revision); !changedMeanwhile(err) {
			return err
		}
	}
}
