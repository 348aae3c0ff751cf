// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// ErrNotInUse means that a target is not configured, or no longer configured.
var ErrNotInUse = errors.New("target is not in use")

// reasonDamaged is the reason of notifications that could not be read.
const reasonDamaged = "damaged"

// DeadLetter is a notification that a target could not deliver.
type DeadLetter struct {
	// Number identifies it within the queue. Numbers grow.
	Number uint64
	// Target is the target that could not deliver it.
	Target string
	// Time is when it became a dead letter.
	Time time.Time
	// Reason is why the last one failed: one of a bounded set of words.
	Reason string
	// Record is the notification. If it is damaged, only the Body is set.
	Record Record
}

// DeadLetterFilter selects dead letters. Zero fields select all.
type DeadLetterFilter struct {
	Target string
	// ID is the identity of the notification. It may be a dead letter of
	// several targets and destinations.
	ID notification.Identity
	// Before and After bound when it became a dead letter.
	Before, After time.Time
	// From is the smallest number.
	From uint64
}

func (f *DeadLetterFilter) chooses(d *DeadLetter) bool {
	return (f.ID == notification.Identity{} || f.ID == d.Record.ID) &&
		(f.Before.IsZero() || d.Time.Before(f.Before)) &&
		(f.After.IsZero() || d.Time.After(f.After))
}

// DeadLetter stores a record as a dead letter of target.
func (q *Queue) DeadLetter(ctx context.Context, target string, r *Record, reason string) error {
	return q.publish(ctx, q.names.deadStream, &nats.Msg{
		Subject: q.names.dead + "." + target,
		Header:  nats.Header{headerReason: {reason}},
		Data:    appendRecord([]byte{groupVersion}, r),
	})
}

// DeadLetters returns those that f selects, oldest first, without those stored
// after the call. It ends after an error.
func (q *Queue) DeadLetters(ctx context.Context, f DeadLetterFilter) iter.Seq2[DeadLetter, error] {
	return func(yield func(DeadLetter, error) bool) {
		if f.Target != "" && !ValidName(f.Target) {
			return // no target has such a name
		}
		stream, err := q.js().Stream(ctx, q.names.deadStream)
		if err != nil {
			yield(DeadLetter{}, fmt.Errorf("%w: reading the dead letters: %w", ErrUnavailable, err))
			return
		}
		state := stream.CachedInfo().State
		subject := q.names.dead + "." + cmp.Or(f.Target, "*")
		for next := max(f.From, state.FirstSeq, 1); next <= state.LastSeq; {
			msg, err := stream.GetMsg(ctx, next, jetstream.WithGetMsgSubject(subject))
			if errors.Is(err, jetstream.ErrMsgNotFound) {
				return
			}
			if err != nil {
				yield(DeadLetter{}, fmt.Errorf("%w: reading the dead letters: %w", ErrUnavailable, err))
				return
			}
			if msg.Sequence > state.LastSeq {
				return
			}
			next = msg.Sequence + 1
			if letter := q.parseDeadLetter(msg); f.chooses(&letter) && !yield(letter, nil) {
				return
			}
		}
	}
}

func (q *Queue) parseDeadLetter(msg *jetstream.RawStreamMsg) DeadLetter {
	d := DeadLetter{
		Number: msg.Sequence,
		Target: strings.TrimPrefix(msg.Subject, q.names.dead+"."),
		Time:   msg.Time,
		Reason: msg.Header.Get(headerReason),
	}
	if records, err := parseGroup(msg.Data); err == nil && len(records) == 1 {
		d.Record = records[0]
	} else {
		d.Record.Body, d.Reason = msg.Data, reasonDamaged
	}
	return d
}

// Replay makes dead letters notifications to be delivered again, as if they had
// just been accepted, in their order. They may become dead letters again. It
// returns the result of each: nil, or why it is still a dead letter. If this
// process ends in between, some are both.
//
// Errors: [ErrNotInUse]; those of [Queue.Park].
func (q *Queue) Replay(ctx context.Context, letters []DeadLetter) []error {
	results := make([]error, len(letters))
	batches := make(map[string][]int) // the letters of each target
	for i := range letters {
		switch d := &letters[i]; {
		case d.Reason == reasonDamaged:
			results[i] = fmt.Errorf("dead letter %d is damaged: %w", d.Number, errCorruptGroup)
		case !q.inUse(d.Target):
			results[i] = fmt.Errorf("%w: %s", ErrNotInUse, d.Target)
		default:
			batches[d.Target] = append(batches[d.Target], i)
		}
	}
	now := time.Now()
	for target, batch := range batches {
		records := make([]Record, len(batch))
		for n, i := range batch {
			records[n] = letters[i].Record
			records[n].Replayed, records[n].Attempts = now, 0
		}
		err := q.Park(ctx, target, Parked{Records: records, Due: now, Reason: "replayed"})
		for _, i := range batch {
			if results[i] = err; err == nil {
				results[i] = q.DeleteDeadLetter(ctx, letters[i].Number)
			}
		}
	}
	return results
}

// DeleteDeadLetter deletes one. It is not an error if it is already gone.
func (q *Queue) DeleteDeadLetter(ctx context.Context, number uint64) error {
	stream, err := q.js().Stream(ctx, q.names.deadStream)
	if err == nil {
		err = stream.DeleteMsg(ctx, number)
	}
	if errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		if _, missing := stream.GetMsg(ctx, number); errors.Is(missing, jetstream.ErrMsgNotFound) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("%w: deleting a dead letter: %w", ErrUnavailable, err)
	}
	return nil
}
