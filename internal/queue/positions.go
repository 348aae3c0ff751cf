// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go/jetstream"
)

// setBack sets back the positions that are beyond the end of their stream.
//
// A store that is not synced with each write can lose its last messages in a
// crash of the machine, and keep the position of a target that had them. The
// stream gives their numbers out again then, and what gets them would count as
// delivered. q.change is held, and nothing is accepted meanwhile.
func (q *Queue) setBack(ctx context.Context) error {
	for _, parked := range []bool{false, true} {
		stream, err := q.js().Stream(ctx, q.streamOf(parked))
		if err != nil {
			return err
		}
		positions, err := q.positions(ctx, stream)
		if err != nil {
			return err
		}
		// After the positions, which can only grow with the stream.
		info, err := stream.Info(ctx)
		if err != nil {
			return err
		}
		state := info.State
		beyond := slices.DeleteFunc(positions, func(p *jetstream.ConsumerInfo) bool { return p.Delivered.Stream <= state.LastSeq })
		if len(beyond) > 0 {
			if state, err = q.agreed(ctx, stream); err != nil {
				return err
			}
		}
		if !parked {
			q.reached.Store(state.LastSeq)
		}
		for _, position := range beyond {
			if position.Delivered.Stream <= state.LastSeq {
				continue
			}
			if err := q.setBackTo(ctx, position, state, parked); err != nil {
				return fmt.Errorf("setting back the position of target %s: %w", position.Name, err)
			}
		}
	}
	return nil
}

// agreed returns the state of a stream that seems to have lost something.
//
// A server that led the stream, and was stopped or cut off, answers with what it
// had then until it notices that another one leads. It cannot make the others
// agree to anything: to remove what is before the first message, which is nothing.
func (q *Queue) agreed(ctx context.Context, stream jetstream.Stream) (jetstream.StreamState, error) {
	if q.server == nil {
		if err := stream.Purge(ctx, jetstream.WithPurgeSequence(1)); err != nil {
			return jetstream.StreamState{}, fmt.Errorf("asking all servers for the end of a stream: %w", err)
		}
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return jetstream.StreamState{}, err
	}
	return info.State, nil
}

func (q *Queue) streamOf(parked bool) string {
	if parked {
		return q.names.parkedStream
	}
	return q.names.stream
}

// positions are those of the targets in use, and where nobody else can use the
// store of all the others.
func (q *Queue) positions(ctx context.Context, stream jetstream.Stream) (positions []*jetstream.ConsumerInfo, err error) {
	if q.server != nil {
		list := stream.ListConsumers(ctx)
		for info := range list.Info() {
			if isTarget(info) {
				positions = append(positions, info)
			}
		}
		return positions, list.Err()
	}
	for target := range q.targets {
		consumer, err := stream.Consumer(ctx, target)
		if err != nil {
			return nil, err
		}
		positions = append(positions, consumer.CachedInfo())
	}
	return positions, nil
}

func (q *Queue) setBackTo(ctx context.Context, position *jetstream.ConsumerInfo, state jetstream.StreamState, parked bool) error {
	from := state.FirstSeq
	// Where each write is synced no crash does this: the file of the position
	// or of the messages was damaged or put back from elsewhere, and everything
	// that is kept is delivered again. So it is with what is parked, which is
	// removed when it is acknowledged.
	if !parked && (q.server == nil || q.settings.Embedded.Sync > 0) {
		from = min(position.AckFloor.Stream, state.LastSeq) + 1
	}
	if err := q.js().DeleteConsumer(ctx, q.streamOf(parked), position.Name); err != nil {
		return err
	}
	if _, err := q.createConsumer(ctx, position.Name, parked, from); err != nil {
		return err
	}
	q.damage.setBack.Add(1)
	q.log.Warn("the position of a target was beyond the end of the queue, as after a power cut with \"sync <duration>\": set back, what comes is delivered",
		"target", position.Name, "parked", parked, "position", position.Delivered.Stream, "end", state.LastSeq, "continues_with", from)
	return nil
}
