// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// unusedSince is when a target was found to be unused. It is stored in the
	// metadata of its consumer, so that a restart does not restart the time.
	// Every queue removes it from the targets it uses, once in unusedInterval.
	// In an external store it therefore stays only on targets that nobody uses.
	unusedSince = "dovecot-push-unused-since"
	// abandoned is how long a mark must stay until that is certain.
	abandoned = 10 * unusedInterval
)

// cleanUpUnused deletes what is stored for targets that nobody has used for
// MaxAge. If nothing waits for a target, or the queue is full, it does so as
// soon as it is certain that nobody uses it.
func (q *Queue) cleanUpUnused(full bool) {
	if !q.isReady() {
		return
	}
	ctx, cancel := context.WithCancel(q.ctx)
	defer cancel() // of a list that was not read to its end
	if err := q.dropUnused(ctx, full); err != nil && q.ctx.Err() == nil {
		q.log.Warn("could not look for targets that are no longer in use", "error", err)
	}
}

func (q *Queue) dropUnused(ctx context.Context, full bool) error {
	q.change.Lock() // nobody starts to use a target in the meantime
	defer q.change.Unlock()
	if len(q.targets) == 0 {
		return nil // between two configurations
	}
	stream, err := q.js().Stream(ctx, q.names.stream)
	if err != nil {
		return err
	}
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		if !isTarget(info) {
			continue
		}
		if err := q.cleanUpTarget(ctx, stream, info, full); err != nil {
			return err
		}
	}
	return list.Err()
}

func (q *Queue) cleanUpTarget(ctx context.Context, stream jetstream.Stream, info *jetstream.ConsumerInfo, full bool) error {
	since, err := time.Parse(time.RFC3339, info.Config.Metadata[unusedSince])
	marked := err == nil
	if q.targets[info.Name] > 0 {
		if marked {
			_, err := q.ensureConsumer(ctx, info.Name, false)
			return err
		}
		return nil
	}
	parked, err := q.js().Consumer(ctx, q.names.parkedStream, info.Name)
	if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	groups, records := unacknowledged(info), uint64(0)
	if err == nil {
		records = unacknowledged(parked.CachedInfo())
	}
	// Nobody but us can use what is embedded.
	certain := q.server != nil || marked && time.Since(since) > abandoned
	switch {
	case certain && (full || groups+records == 0), marked && time.Since(since) > q.settings.MaxAge:
		if err := q.drop(ctx, stream, info.Name); err != nil {
			return err
		}
		q.log.Warn("deleted what was stored for a target that is no longer configured",
			"target", info.Name, "groups_dropped", groups, "parked_dropped", records)
	case !marked:
		cfg := info.Config
		cfg.Metadata = maps.Clone(cfg.Metadata)
		if cfg.Metadata == nil {
			cfg.Metadata = make(map[string]string)
		}
		cfg.Metadata[unusedSince] = time.Now().UTC().Format(time.RFC3339)
		_, err := stream.UpdateConsumer(ctx, cfg)
		return err
	}
	return nil
}

// ErrInUse means that a target is in use.
var ErrInUse = errors.New("target is in use")

// Drop deletes what is stored for a target that is no longer used. Errors:
// [ErrInUse], and [ErrNotFound] if nothing is kept for it.
func (q *Queue) Drop(ctx context.Context, target string) error {
	q.change.Lock() // nobody starts to use it in the meantime
	defer q.change.Unlock()
	if q.targets[target] > 0 {
		return fmt.Errorf("%w: %s", ErrInUse, target)
	}
	removed, err := q.removed(ctx)
	if err != nil {
		return err
	}
	if _, kept := removed[target]; !kept {
		return fmt.Errorf("%w: nothing is stored for a target %s", ErrNotFound, target)
	}
	stream, err := q.js().Stream(ctx, q.names.stream)
	if err == nil {
		err = q.drop(ctx, stream, target)
	}
	if err != nil {
		return fmt.Errorf("%w: dropping what is stored for target %s: %w", ErrUnavailable, target, err)
	}
	q.known.Delete(target)
	q.acked.Store(true)
	return nil
}

// removed lists the targets that nobody uses and something is kept for. Where
// others share the store they may use one that we do not, until it is marked.
// q.change is held.
func (q *Queue) removed(ctx context.Context) (map[string]RemovedTarget, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := q.js().Stream(ctx, q.names.stream)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	removed := make(map[string]RemovedTarget)
	list := stream.ListConsumers(ctx)
	for info := range list.Info() {
		since, err := time.Parse(time.RFC3339, info.Config.Metadata[unusedSince])
		marked := err == nil
		if !isTarget(info) || q.targets[info.Name] > 0 || q.server == nil && (!marked || time.Since(since) < abandoned) {
			continue
		}
		r := RemovedTarget{Groups: unacknowledged(info)}
		if marked {
			r.Until = since.Add(q.settings.MaxAge)
		}
		removed[info.Name] = r
	}
	if err := list.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return removed, nil
}

func unacknowledged(info *jetstream.ConsumerInfo) uint64 {
	return info.NumPending + uint64(max(info.NumAckPending, 0))
}

func (q *Queue) drop(ctx context.Context, stream jetstream.Stream, target string) error {
	parked, err := q.js().Stream(ctx, q.names.parkedStream)
	if err != nil {
		return err
	}
	if err := parked.Purge(ctx, jetstream.WithPurgeSubject(q.names.park+"."+target+".*")); err != nil {
		return err
	}
	for _, s := range []jetstream.Stream{parked, stream} {
		if err := s.DeleteConsumer(ctx, target); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
			return err
		}
	}
	return nil
}
