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
	settled, returned int
	kept              atomic.Int64
	err               error
}

func (g *fakeGroup) Settle() error { g.settled++; return g.err }
func (g *fakeGroup) Return() error { g.returned++; return g.err }
func (g *fakeGroup) Keep() error   { g.kept.Add(1); return g.err }

// heldGroup is a group with jobs for each of the numbers that did not end
// before.
func heldGroup(t *testing.T, hs *holdings, sequence uint64, numbers ...int) (*holding, *fakeGroup) {
	t.Helper()
	group := new(fakeGroup)
	h := &holding{group: group, id: groupID{sequence: sequence}}
	var held bool
	h.ended, held = hs.comesAgain(h.id)
	require.False(t, held)
	for _, n := range numbers {
		h.add(job{record: new(numbered(n)), from: h})
	}
	if len(h.jobs) > 0 {
		hs.hold(h)
	}
	return h, group
}

func TestHoldingSettlesWithItsLastJob(t *testing.T) {
	hs := newHoldings(1000)
	h, group := heldGroup(t, hs, 1, 0, 1, 2)
	require.Equal(t, 1000-3*(jobSize+1), hs.free())
	for i := range h.jobs {
		require.Zero(t, group.settled)
		require.NoError(t, hs.settle(&h.jobs[i], true))
	}
	require.Equal(t, 1, group.settled)
	require.Equal(t, 1000, hs.free())
	require.Empty(t, hs.held)
	require.Empty(t, hs.ended)
}

// A notification whose parking failed comes again with its group; what ended
// of the group is not delivered once more, however often it comes.
func TestHoldingThatComesAgain(t *testing.T) {
	hs := newHoldings(1 << 20)
	h, group := heldGroup(t, hs, 1, 0, 1, 2)
	for i := range h.jobs {
		require.NoError(t, hs.settle(&h.jobs[i], i == 1))
	}
	require.Zero(t, group.settled)

	h, _ = heldGroup(t, hs, 2, 0, 1, 2)
	require.Len(t, h.jobs, 3, "another group")
	h, group = heldGroup(t, hs, 1, 0, 1, 2)
	require.Len(t, h.jobs, 2)
	require.Equal(t, numbered(0).ID, h.jobs[0].record.ID)
	require.NoError(t, hs.settle(&h.jobs[0], true))
	require.NoError(t, hs.settle(&h.jobs[1], false))
	require.Zero(t, group.settled)

	h, group = heldGroup(t, hs, 1, 0, 1, 2)
	require.Len(t, h.jobs, 1)
	require.Equal(t, numbered(2).ID, h.jobs[0].record.ID)
	require.NoError(t, hs.settle(&h.jobs[0], true))
	require.Equal(t, 1, group.settled)
	h, _ = heldGroup(t, hs, 1, 0, 1, 2)
	require.Len(t, h.jobs, 3, "settled and forgotten")
}

func TestHoldingWhoseAcknowledgementIsLost(t *testing.T) {
	hs := newHoldings(1 << 20)
	h, group := heldGroup(t, hs, 1, 0)
	group.err = errors.New("lost")
	require.ErrorIs(t, hs.settle(&h.jobs[0], true), group.err)
	require.Empty(t, hs.held)
	h, _ = heldGroup(t, hs, 1, 0)
	require.Empty(t, h.jobs)

	for sequence := range uint64(maxUnsettled + 10) {
		h, group := heldGroup(t, hs, 10+sequence, 0)
		group.err = errors.New("lost")
		require.Error(t, hs.settle(&h.jobs[0], true))
		require.LessOrEqual(t, len(hs.ended), maxUnsettled)
	}
}

// The queue gives out what it did not hear of for too long although it is
// being worked on.
func TestHoldingIsHeld(t *testing.T) {
	hs := newHoldings(1 << 20)
	h, _ := heldGroup(t, hs, 1, 0)
	_, held := hs.comesAgain(groupID{sequence: 1})
	require.True(t, held)
	_, held = hs.comesAgain(groupID{sequence: 1, parked: true})
	require.False(t, held)
	require.NoError(t, hs.settle(&h.jobs[0], true))
	_, held = hs.comesAgain(groupID{sequence: 1})
	require.False(t, held)
}

func TestHoldingsOldest(t *testing.T) {
	hs := newHoldings(1 << 20)
	require.Zero(t, hs.oldest())
	early, late := numbered(0), numbered(1)
	late.Accepted = early.Accepted.Add(1)
	for i, r := range []queue.Record{late, early} {
		h := &holding{group: new(fakeGroup), id: groupID{sequence: uint64(i)}}
		h.add(job{record: &r, from: h})
		hs.hold(h)
	}
	require.Equal(t, early.Accepted, hs.oldest())
}

// The queue hears of everything that is held, often enough and not of all at
// once.
func TestHoldingsAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hs := newHoldings(1 << 20)
		done := make(chan struct{})
		go hs.keep(done)
		var groups []*fakeGroup
		for n := range 10 {
			_, group := heldGroup(t, hs, uint64(n), n)
			groups = append(groups, group)
			time.Sleep(time.Second)
		}
		synctest.Wait()
		kept := func() (all int64) {
			for _, g := range groups {
				all += g.kept.Load()
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
			require.GreaterOrEqual(t, g.kept.Load(), int64(2), "within AckWait")
		}
		close(done)
		synctest.Wait()
	})
}
