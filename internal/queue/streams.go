// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// requestTimeout is how long JetStream may take to answer a request. A
	// cluster that elects a leader does not answer at all.
	requestTimeout = 3 * time.Second
	// maxHeldGroups bounds what all readers of one target hold together. A
	// reader that meets it waits, so it is more than one target holds.
	maxHeldGroups = 20_000
	// maxHeldParked is how many parked groups of one target the server
	// watches the due time of; those beyond wait for their turn.
	maxHeldParked = 10_000
)

// prepare makes the streams and the consumers of the targets in use, or gives
// those that exist their settings. Nothing may be accepted before: JetStream
// would drop a notification that no consumer is interested in.
//
// What has its settings already is left alone: each change rewrites files, and
// needs the leader of the whole cluster. q.change is held.
func (q *Queue) prepare(ctx context.Context) error {
	for _, cfg := range []jetstream.StreamConfig{
		{
			Name:        q.names.stream,
			Description: "accepted notifications of Dovecot, in groups",
			Subjects:    []string{q.names.in + ".*"},
			Retention:   jetstream.LimitsPolicy, // see trimInterval
			Discard:     jetstream.DiscardNew,
		},
		{
			Name:        q.names.parkedStream,
			Description: "notifications waiting for their next attempt",
			Subjects:    []string{q.names.park + ".*.*"},
			Retention:   jetstream.WorkQueuePolicy,
			Discard:     jetstream.DiscardNew,
		},
		{
			Name:        q.names.deadStream,
			Description: "notifications a target gave up on",
			Subjects:    []string{q.names.dead + ".*"},
			Discard:     jetstream.DiscardOld,
			MaxAge:      deadLetterAge,
		},
	} {
		cfg.Storage = jetstream.FileStorage
		cfg.MaxBytes = q.settings.MaxBytes
		cfg.Duplicates = 100 * time.Millisecond // no message has an ID to compare
		if cfg.Name == q.names.stream && q.server == nil {
			cfg.Duplicates = repeatWindow
		}
		if err := q.ensureReplicated(ctx, cfg); err != nil {
			return fmt.Errorf("preparing the stream %s: %w", cfg.Name, err)
		}
	}
	for target := range q.targets {
		for _, parked := range []bool{false, true} {
			if _, err := q.ensureConsumer(ctx, target, parked); err != nil {
				return err
			}
		}
	}
	if err := q.setBack(ctx); err != nil {
		return fmt.Errorf("checking the positions of the targets: %w", err)
	}
	for _, stream := range []string{q.names.stream, q.names.parkedStream, q.names.deadStream} {
		if err := q.persist(stream); err != nil {
			return err
		}
	}
	q.prepared.Store(true)
	q.wakeInspection()
	q.available.set(q.ctx)
	return nil
}

// persist brings to the disk what is there of a stream, where the server does
// not do it with each write. q.change is held.
func (q *Queue) persist(stream string) error {
	if q.server == nil || q.settings.Embedded.Sync == 0 {
		return nil
	}
	if err := q.server.persist(stream); err != nil {
		return fmt.Errorf("%w: syncing the stream %s: %w", ErrUnavailable, stream, err)
	}
	return nil
}

// replicas is how many servers keep each stream. q.change is held.
func (q *Queue) replicas() int {
	if e := q.settings.External; e != nil && e.Replicas > 0 {
		return e.Replicas
	}
	return max(1, int(q.autoReplicas.Load()))
}

// JetStream error codes that mean that a cluster has too few servers, or that
// there is no cluster.
const (
	codeNoPeers      jetstream.ErrorCode = 10005
	codeNotClustered jetstream.ErrorCode = 10074
)

// ensureReplicated is ensureStream with as many replicas as are configured, or
// else three where the cluster has as many servers.
func (q *Queue) ensureReplicated(ctx context.Context, cfg jetstream.StreamConfig) error {
	e := q.settings.External
	if e == nil || e.Replicas > 0 {
		cfg.Replicas = q.replicas()
		return q.ensureStream(ctx, cfg)
	}
	cfg.Replicas = enoughReplicas
	err := q.ensureStream(ctx, cfg)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && (api.ErrorCode == codeNoPeers || api.ErrorCode == codeNotClustered) {
		cfg.Replicas = 1
		err = q.ensureStream(ctx, cfg)
	}
	if err == nil && cfg.Name == q.names.stream {
		q.autoReplicas.Store(int32(cfg.Replicas))
	}
	return err
}

func (q *Queue) ensureStream(ctx context.Context, cfg jetstream.StreamConfig) error {
	stream, err := q.js().Stream(ctx, cfg.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		_, err = q.js().CreateStream(ctx, cfg)
		return err
	}
	if err != nil {
		return err
	}
	is := stream.CachedInfo().Config
	want := is // with what an operator may have added: placement, compression
	want.Description, want.Subjects = cfg.Description, cfg.Subjects
	want.Retention, want.Discard = cfg.Retention, cfg.Discard
	want.MaxBytes, want.MaxAge = cfg.MaxBytes, cfg.MaxAge
	want.Replicas, want.Duplicates = cfg.Replicas, cfg.Duplicates
	if e := q.settings.External; e != nil && e.Replicas == 0 {
		want.Replicas = max(is.Replicas, cfg.Replicas) // the operator may have made more
	}
	if reflect.DeepEqual(want, is) {
		return nil
	}
	_, err = q.js().UpdateStream(ctx, want)
	return err
}

// consumerConfig is what the position of a target is made with.
func (q *Queue) consumerConfig(target string, parked bool) jetstream.ConsumerConfig {
	cfg := jetstream.ConsumerConfig{
		Durable:       target,
		Description:   "what this target still has to get",
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		MaxDeliver:    -1,
		MaxAckPending: maxHeldGroups,
		DeliverPolicy: jetstream.DeliverAllPolicy,
	}
	if parked {
		cfg.Description = "notifications waiting for their next attempt"
		cfg.FilterSubject = q.names.park + "." + target + ".*"
		cfg.MaxAckPending = maxHeldParked
	}
	return cfg
}

// createConsumer makes the position of a target, which starts with the message
// of that number, or with the first one if it is 0.
func (q *Queue) createConsumer(ctx context.Context, target string, parked bool, from uint64) (jetstream.Consumer, error) {
	cfg := q.consumerConfig(target, parked)
	if from > 0 {
		cfg.DeliverPolicy, cfg.OptStartSeq = jetstream.DeliverByStartSequencePolicy, from
	}
	return q.js().CreateConsumer(ctx, q.streamOf(parked), cfg)
}

// ensureConsumer makes the position of a target, or finds it.
func (q *Queue) ensureConsumer(ctx context.Context, target string, parked bool) (jetstream.Consumer, error) {
	stream, cfg := q.streamOf(parked), q.consumerConfig(target, parked)
	cons, err := q.js().Consumer(ctx, stream, target)
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound):
		from := uint64(0) // all that is parked for a target is its own
		if !parked {
			if from, err = q.start(ctx, target); err != nil {
				break
			}
		}
		cons, err = q.createConsumer(ctx, target, parked, from)
	case err == nil:
		is := cons.CachedInfo().Config
		want := is
		want.Description, want.FilterSubject = cfg.Description, cfg.FilterSubject
		want.AckWait, want.MaxDeliver, want.MaxAckPending = cfg.AckWait, cfg.MaxDeliver, cfg.MaxAckPending
		if _, marked := want.Metadata[unusedSince]; marked {
			want.Metadata = maps.Clone(want.Metadata)
			delete(want.Metadata, unusedSince)
		}
		if !reflect.DeepEqual(want, is) {
			cons, err = q.js().UpdateConsumer(ctx, stream, want)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: preparing target %s: %w", ErrUnavailable, target, err)
	}
	if !parked {
		q.known.Store(target, true)
	}
	return cons, nil
}

// start is the number that a target begins with whose position is not there,
// or 0 for the first one that is kept. A new target gets what waits for those
// that are configured with it, and not what is kept for one that was removed.
// A target that has had a position, and lost it, gets everything; so does one
// that has no others beside it.
func (q *Queue) start(ctx context.Context, target string) (uint64, error) {
	if _, lost := q.known.Load(target); lost {
		return 0, nil
	}
	from, others := ^uint64(0), false
	for _, other := range q.configured {
		if other == target {
			continue
		}
		cons, err := q.js().Consumer(ctx, q.names.stream, other)
		if errors.Is(err, jetstream.ErrConsumerNotFound) {
			continue // it is new as well
		}
		if err != nil {
			return 0, err
		}
		from, others = min(from, cons.CachedInfo().AckFloor.Stream+1), true
	}
	if !others {
		return 0, nil
	}
	return from, nil
}
