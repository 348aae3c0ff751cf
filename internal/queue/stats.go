// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Stats is the content of the queue at one moment.
type Stats struct {
	// Waiting is the number of notifications that at least one target has not
	// got yet.
	Waiting uint64
	// Bytes is the space they take in the store.
	Bytes uint64
	// Oldest is when the oldest of them was stored, or zero.
	Oldest time.Time
	// Targets has the numbers of each target.
	Targets map[string]TargetStats
	// Removed is what is stored for targets that are no longer used.
	Removed map[string]RemovedTarget
}

// RemovedTarget is what is stored for a target that is no longer used.
type RemovedTarget struct {
	TargetStats
	// Groups is in how many groups what waits was accepted.
	Groups uint64
	// Until is how long it is kept at most, or zero if that is not decided yet.
	Until time.Time
}

// TargetStats is the content of the queue for one target.
type TargetStats struct {
	// Waiting is the number of notifications not attempted yet. While targets
	// go at different paces it is computed from the average size of a group; 0
	// is always exact.
	Waiting uint64
	// Parked is the number of notifications waiting for another attempt.
	Parked uint64
	// Dead is the number of dead letters.
	Dead uint64
}

// Stats asks the store. It costs a few requests to it, whatever the queue
// holds.
func (q *Queue) Stats(ctx context.Context, targets []string) (Stats, error) {
	st := Stats{Targets: make(map[string]TargetStats, len(targets))}
	if err := q.trim(ctx, false); err != nil { // what nobody waits for any more does not count
		return st, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	stream, err := q.js().Stream(ctx, q.names.stream)
	if err != nil {
		return st, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(q.names.in+".*"))
	if err != nil {
		return st, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	for subject, groups := range info.State.Subjects {
		count, err := strconv.ParseUint(strings.TrimPrefix(subject, q.names.in+"."), 10, 32)
		if err != nil {
			continue // not one of ours
		}
		st.Waiting += count * groups
	}
	st.Bytes = info.State.Bytes
	if info.State.Msgs > 0 {
		st.Oldest = info.State.FirstTime
	}
	parked, err := q.subjectCounts(ctx, q.names.parkedStream, q.names.park)
	if err != nil {
		return st, err
	}
	dead, err := q.subjectCounts(ctx, q.names.deadStream, q.names.dead)
	if err != nil {
		return st, err
	}
	q.change.RLock()
	st.Removed, err = q.removed(ctx)
	q.change.RUnlock()
	if err != nil {
		return st, err
	}
	for target, r := range st.Removed {
		r.TargetStats = TargetStats{Waiting: share(st.Waiting, r.Groups, info.State.Msgs), Parked: parked[target], Dead: dead[target]}
		st.Removed[target] = r
	}
	for _, target := range targets {
		ts := TargetStats{Parked: parked[target], Dead: dead[target]}
		cons, err := stream.Consumer(ctx, target)
		switch {
		case errors.Is(err, jetstream.ErrConsumerNotFound):
		case err != nil:
			return st, fmt.Errorf("%w: %w", ErrUnavailable, err)
		default:
			ts.Waiting = share(st.Waiting, unacknowledged(cons.CachedInfo()), info.State.Msgs)
		}
		st.Targets[target] = ts
	}
	return st, nil
}

// share is how many of the records in all groups are in some of them, as far as
// that is known: 0 is exact.
func share(records, some, all uint64) uint64 {
	if all == 0 {
		return 0
	}
	return (records*min(some, all) + all - 1) / all
}

// subjectCounts counts the records of a stream by target. Where a message can
// hold several, their number is the last part of its subject.
func (q *Queue) subjectCounts(ctx context.Context, stream, prefix string) (map[string]uint64, error) {
	s, err := q.js().Stream(ctx, stream)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	info, err := s.Info(ctx, jetstream.WithSubjectFilter(prefix+".>"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	counts := make(map[string]uint64)
	for subject, messages := range info.State.Subjects {
		target, each, several := strings.Cut(strings.TrimPrefix(subject, prefix+"."), ".")
		records := uint64(1)
		if several {
			if records, err = strconv.ParseUint(each, 10, 32); err != nil {
				continue // not one of ours
			}
		}
		counts[target] += messages * records
	}
	return counts, nil
}
