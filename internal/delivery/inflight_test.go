// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// fakeGroup says what became of it.
type fakeGroup struct {
	acked, nakked int
	extended      atomic.Int64
	err           error
}

func (g *fakeGroup) Ack() error        { g.acked++; return g.err }
func (g *fakeGroup) Nak() error        { g.nakked++; return g.err }
func (g *fakeGroup) InProgress() error { g.extended.Add(1); return g.err }

// addBatch is a group with jobs for each of the numbers that did not end
// before.
func addBatch(t *testing.T, hs *inflight, sequence uint64, numbers ...int) (*batch, *fakeGroup) {
	t.Helper()
	group := new(fakeGroup)
	h := &batch{group: group, id: groupID{sequence: sequence}}
	var held bool
	h.ended, held = hs.redelivered(h.id)
	require.False(t, held)
	for _, n := range numbers {
		h.add(job{record: new(numbered(n)), from: h})
	}
	if len(h.jobs) > 0 {
		hs.add(h)
	}
	return h, group
}

func TestBatchIsAckedWithItsLastJob(t *testing.T) {
	hs := newInflight(1000)
	h, group := addBatch(t, hs, 1, 0, 1, 2)
	require.Equal(t, 1000-3*(jobSize+1), hs.free())
	for i := range h.jobs {
		require.Zero(t, group.acked)
		require.NoError(t, hs.finish(&h.jobs[i], true))
	}
	require.Equal(t, 1, group.acked)
	require.Equal(t, 1000, hs.free())
	require.Empty(t, hs.batches)
	require.Empty(t, hs.ended)
}

// A notification whose parking failed comes again with its group; what ended
// of the group is not delivered once more, however often it comes.
func TestBatchIsRedelivered(t *testing.T) {
	hs := newInflight(1 << 20)
	h, group := addBatch(t, hs, 1, 0, 1, 2)
	for i := range h.jobs {
		require.NoError(t, hs.finish(&h.jobs[i], i == 1))
	}
	require.Zero(t, group.acked)

	h, _ = addBatch(t, hs, 2, 0, 1, 2)
	require.Len(t, h.jobs, 3, "another group")
	h, group = addBatch(t, hs, 1, 0, 1, 2)
	require.Len(t, h.jobs, 2)
	require.Equal(t, numbered(0).ID, h.jobs[0].record.ID)
	require.NoError(t, hs.finish(&h.jobs[0], true))
	require.NoError(t, hs.finish(&h.jobs[1], false))
	require.Zero(t, group.acked)

	h, group = addBatch(t, hs, 1, 0, 1, 2)
	require.Len(t, h.jobs, 1)
	require.Equal(t, numbered(2).ID, h.jobs[0].record.ID)
	require.NoError(t, hs.finish(&h.jobs[0], true))
	require.Equal(t, 1, group.acked)
	h, _ = addBatch(t, hs, 1, 0, 1, 2)
	require.Len(t, h.jobs, 3, "acknowledged and forgotten")
}

func TestBatchWhoseAcknowledgementIsLost(t *testing.T) {
	hs := newInflight(1 << 20)
	h, group := addBatch(t, hs, 1, 0)
	group.err = errors.New("lost")
	require.ErrorIs(t, hs.finish(&h.jobs[0], true), group.err)
	require.Empty(t, hs.batches)
	h, _ = addBatch(t, hs, 1, 0)
	require.Empty(t, h.jobs)

	for sequence := range uint64(maxUnacked + 10) {
		h, group := addBatch(t, hs, 10+sequence, 0)
		group.err = errors.New("lost")
		require.Error(t, hs.finish(&h.jobs[0], true))
		require.LessOrEqual(t, len(hs.ended), maxUnacked)
	}
}

// The queue gives out what it did not hear of for too long although it is
// being worked on.
func TestBatchIsInFlight(t *testing.T) {
	hs := newInflight(1 << 20)
	h, _ := addBatch(t, hs, 1, 0)
	_, held := hs.redelivered(groupID{sequence: 1})
	require.True(t, held)
	_, held = hs.redelivered(groupID{sequence: 1, parked: true})
	require.False(t, held)
	require.NoError(t, hs.finish(&h.jobs[0], true))
	_, held = hs.redelivered(groupID{sequence: 1})
	require.False(t, held)
}

func TestInflightOldest(t *testing.T) {
	hs := newInflight(1 << 20)
	require.Zero(t, hs.oldest())
	early, late := numbered(0), numbered(1)
	late.Accepted = early.Accepted.Add(1)
	for i, r := range []queue.Record{late, early} {
		h := &batch{group: new(fakeGroup), id: groupID{sequence: uint64(i)}}
		h.add(job{record: &r, from: h})
		hs.add(h)
	}
	require.Equal(t, early.Accepted, hs.oldest())
}

// The queue hears of everything that is held, often enough and not of all at
// once.
func TestInflightIsExtended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hs := newInflight(1 << 20)
		done := make(chan struct{})
		go hs.extendLoop(done)
		var groups []*fakeGroup
		for n := range 10 {
			_, group := addBatch(t, hs, uint64(n), n)
			groups = append(groups, group)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		kept := func() (all int64) {
			for _, g := range groups {
				all += g.extended.Load()
			}
			return all
		}
		for range 20 {
			before := kept()
			time.Sleep(time.Second)
			synctest.Wait()
			require.LessOrEqual(t, kept()-before, int64(2))
		}
		for _, g := range groups {
			require.GreaterOrEqual(t, g.extended.Load(), int64(2), "within AckWait")
		}
		close(done)
		synctest.Wait()
	})
}
