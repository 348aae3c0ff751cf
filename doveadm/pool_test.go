// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
)

// Each host takes a second for a command.
func slow(http.ResponseWriter, *http.Request, string) bool {
	time.Sleep(time.Second)
	return false
}

func TestConnectionLimits(t *testing.T) {
	for _, test := range []struct {
		name            string
		total, perRoute int
		open            []int         // at a time
		took            time.Duration // for 24 calls
	}{
		{"defaults", 0, 0, []int{8, 8, 8}, time.Second},
		{"divided evenly", 6, 0, []int{2, 2, 2}, 4 * time.Second},
		{"divided evenly, below zero", 6, -1, []int{2, 2, 2}, 4 * time.Second},
		{"fewer than endpoints", 2, 0, []int{1, 1, 0}, 12 * time.Second},
		{"per route", 100, 1, []int{1, 1, 1}, 8 * time.Second},
		{"both", 4, 3, []int{2, 1, 1}, 6 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, c := newNetwork(t, doveadm.Config{TotalConnections: test.total, MaxConnectionsPerRoute: test.perRoute}, "a", "b", "c")
				for _, h := range n.hosts {
					h.Interfere(slow)
				}
				began := time.Now()
				var wg sync.WaitGroup
				for range 24 {
					wg.Go(func() { assert.NoError(t, get(t, c)) })
				}
				synctest.Wait()
				var open []int
				for _, e := range c.Endpoints() {
					open = append(open, e.Open)
				}
				assert.Equal(t, test.open, open)
				wg.Wait()
				assert.Equal(t, test.took, time.Since(began))
			})
		})
	}
}

func TestWaitingHonoursTheContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{TotalConnections: 1}, "a")
		n.host("a").Interfere(slow)
		var wg sync.WaitGroup
		wg.Go(func() { assert.NoError(t, get(t, c)) })
		synctest.Wait()
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_, err := c.MetadataGet(ctx, alice, key)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorContains(t, err, "waiting for one of 1 connections")
		})
		wg.Go(func() { assert.NoError(t, get(t, c)) })
		wg.Wait()
		assert.Equal(t, []string{"a:ok", "a:ok"}, strings.Fields(n.outcomes()))
		require.Zero(t, c.Endpoints()[0].Open)
	})
}

// A turn that comes at the moment when the context ends is not lost.
func TestTurnAndContextTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{TotalConnections: 1}, "a")
		n.host("a").Interfere(slow)
		for range 50 {
			var wg sync.WaitGroup
			wg.Go(func() { assert.NoError(t, get(t, c)) })
			synctest.Wait()
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := c.MetadataGet(ctx, alice, key)
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			})
			wg.Wait()
		}
		require.Zero(t, c.Endpoints()[0].Open)
		require.NoError(t, get(t, c))
	})
}

// Calls that wait for an endpoint that leaves service go elsewhere, or fail if
// there is nothing else.
func TestWaitingForWhatGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{TotalConnections: 2}, "a", "b")
		n.host("a").freeze()
		n.host("b").freeze()
		began := time.Now()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { assert.ErrorIs(t, get(t, c), doveadm.ErrUnavailable) })
		}
		wg.Wait()
		assert.Equal(t, 15*time.Second, time.Since(began), "a call and the probe")
		assert.Equal(t, "a:timeout b:timeout", sorted(n.outcomes()))
	})
}

func sorted(words string) string {
	return strings.Join(slices.Sorted(strings.FieldsSeq(words)), " ")
}
