// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

// brief has leases that end while one waits.
var brief = timing{history: time.Hour, lease: 15 * time.Second, renew: 12 * time.Second, tick: 100 * time.Millisecond, retry: 100 * time.Millisecond}

func TestLeaseEnds(t *testing.T) {
	queuetest.InVirtualTime(t, func(t *testing.T) {
		q := openQueue(t, t.TempDir())
		l := openLog(t, q, brief)
		f := new(reports)
		l.SetReport(f.report)
		c := newClient(t, l, alice)
		require.Eventually(t, func() bool { return slices.Equal([]string{alice + " true"}, f.list()) }, patience, time.Millisecond)
		time.Sleep(2 * brief.lease)
		require.True(t, l.Wants(alice), "as long as there is a stream")
		users, err := Users(t.Context(), q)
		require.NoError(t, err)
		require.Equal(t, []string{alice}, users)
		require.NotContains(t, f.list(), alice+" false")
		c.hangUp()
		require.True(t, l.Wants(alice), "and for some time after that")
		require.Eventually(t, func() bool { return slices.Contains(f.list(), alice+" false") }, patience, time.Millisecond)
		require.False(t, l.Wants(alice))
		users, err = Users(t.Context(), q)
		require.NoError(t, err)
		require.Empty(t, users)
		require.Eventually(t, func() bool {
			l.mu.Lock()
			defer l.mu.Unlock()
			return len(l.topics) == 0 && l.leased == 0
		}, patience, time.Millisecond, "nothing is left")
		require.True(t, l.Idle())

		newClient(t, l, alice).hangUp()
		require.Eventually(t, func() bool { return l.Wants(alice) && f.list()[len(f.list())-1] == alice+" true" }, patience, time.Millisecond)
	})
}

func TestReportIsRepeatedAfterAnError(t *testing.T) {
	queuetest.InVirtualTime(t, func(t *testing.T) {
		l := openLog(t, openQueue(t, t.TempDir()), brief)
		f := &reports{fails: 3}
		l.SetReport(f.report)
		c := newClient(t, l, alice)
		require.Eventually(t, func() bool { return slices.Equal([]string{alice + " true"}, f.list()) }, patience, time.Millisecond)
		f.mu.Lock()
		f.fails = 3
		f.mu.Unlock()
		c.hangUp()
		require.Eventually(t, func() bool { return slices.Contains(f.list(), alice+" false") }, patience, time.Millisecond)
	})
}

// An instance that starts after a lease has expired removes it.
func TestLeaseEndsOverRestart(t *testing.T) {
	queuetest.InVirtualTime(t, func(t *testing.T) {
		dir := t.TempDir()
		q := openQueue(t, dir)
		l := openLog(t, q, brief)
		newClient(t, l, alice).hangUp()
		l.Close()
		require.NoError(t, q.Close())
		time.Sleep(brief.lease)
		l = openLog(t, openQueue(t, dir), brief)
		f := new(reports)
		l.SetReport(f.report)
		require.Eventually(t, func() bool { return slices.Equal([]string{alice + " false"}, f.list()) }, patience, time.Millisecond)
	})
}
