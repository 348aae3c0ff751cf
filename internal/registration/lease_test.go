// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/lease"
)

// A reload does not start another pass, unless the settings say otherwise.
func TestReload(t *testing.T) {
	m := newMemory(names(10)...)
	table := openTable(t, t.TempDir())
	f := newFixture(t, m, Config{Policy: All, Table: table})
	wait, err := f.passIfLeader(t.Context(), false)
	require.NoError(t, err)
	assert.InDelta(t, DefaultInterval, wait, float64(DefaultInterval)/9)
	assert.Equal(t, 1, m.counted("list"))

	f = newFixture(t, m, Config{Policy: All, Table: table})
	wait, err = f.passIfLeader(t.Context(), false)
	require.NoError(t, err)
	assert.Greater(t, wait, DefaultInterval/2)
	assert.Equal(t, 1, m.counted("list"))

	template, err := NewTemplate("user={user.local}", nil)
	require.NoError(t, err)
	f = newFixture(t, m, Config{Policy: All, Table: table, Value: template})
	_, err = f.passIfLeader(t.Context(), false)
	require.NoError(t, err)
	assert.Equal(t, 2, m.counted("list"))
	assert.Equal(t, "user=user00003\t"+mark, m.value("user00003@example.com"))
}

// What was not done when the configuration before ended is not forgotten.
func TestReloadWithOpenWishes(t *testing.T) {
	m := newMemory(alice, "bob@example.com")
	m.put("bob@example.com", ours("bob@example.com"))
	table := openTable(t, t.TempDir())
	f := newFixture(t, m, Config{Table: table})
	f.onePass(t)
	require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
	require.NoError(t, f.update(t.Context(), "bob@example.com", func(rec *record) {
		*rec = record{State: Registered, Until: time.Now().Add(-time.Second)}
	}))
	f = newFixture(t, m, Config{Table: table})
	f.Start()
	eventually(t, func() bool { return m.value(alice) != "" && m.value("bob@example.com") == "" })
	assert.Zero(t, m.counted("list"))
}

// A desired state that another instance stored and could not act on is acted on.
func TestWishOfAnother(t *testing.T) {
	m := newMemory(alice)
	table := openTable(t, t.TempDir())
	f := newFixture(t, m, Config{Table: table})
	f.Start()
	eventually(t, func() bool {
		p := f.Status().Pass
		return p != nil && !p.Ended.IsZero()
	})
	stopped := newFixture(t, m, Config{Table: table, Grace: time.Millisecond})
	require.NoError(t, stopped.SetSubscribed(t.Context(), alice, true))
	eventually(t, func() bool { return f.state(t, alice) == Registered })
	assert.NotEmpty(t, m.value(alice))
	require.NoError(t, stopped.SetSubscribed(t.Context(), alice, false))
	eventually(t, func() bool { return m.value(alice) == "" })
	assert.LessOrEqual(t, m.counted("get"), 2)
}

// Of several who share the table, one makes the pass, and another one takes
// over when it is gone.
func TestOneAtATime(t *testing.T) {
	m := newMemory(names(10)...)
	table := openTable(t, t.TempDir())
	entered, goOn := make(chan struct{}), make(chan struct{})
	m.failing(func(method, _ string) error {
		if method == "list" {
			close(entered)
			<-goOn
		}
		return nil
	})
	first := newFixture(t, m, Config{Policy: All, Table: table})
	done := make(chan struct{})
	go func() {
		defer close(done)
		first.onePass(t)
	}()
	<-entered
	second := newFixture(t, m, Config{Policy: All, Table: table})
	second.cfg.Exclusive = false // another process, perhaps
	second.lease = newLease(&second.cfg)
	wait, err := second.passIfLeader(t.Context(), true)
	require.NoError(t, err)
	assert.Equal(t, lease.Poll, wait)
	close(goOn)
	<-done
	wait, err = second.passIfLeader(t.Context(), false)
	require.NoError(t, err)
	assert.Greater(t, wait, DefaultInterval/2)
	assert.Equal(t, 1, m.counted("list"))

	// A process that was killed in its pass has ended it where nobody else can use
	// the table. Else it is waited for.
	m.failing(nil)
	dead := []byte(`{"owner":"dead","running":true}`)
	_, err = table.Put(t.Context(), leaseKey, dead)
	require.NoError(t, err)
	wait, err = second.passIfLeader(t.Context(), true)
	require.NoError(t, err)
	assert.Equal(t, lease.Poll, wait)
	third := newFixture(t, m, Config{Policy: All, Table: table})
	wait, err = third.passIfLeader(t.Context(), false)
	require.NoError(t, err)
	assert.Greater(t, wait, DefaultInterval/2)
	assert.Equal(t, 2, m.counted("list"))
}

// A clock that was set back does not put the next pass off for as long.
func TestClockSetBack(t *testing.T) {
	m := newMemory(names(3)...)
	f := newFixture(t, m, Config{Policy: All})
	f.onePass(t)
	finished := func(at time.Time) {
		t.Helper()
		last, _, err := f.lease.Elsewhere(t.Context())
		require.NoError(t, err)
		last.Finished = at
		taken, err := f.lease.Take(t.Context(), last)
		require.NoError(t, err)
		require.True(t, taken)
		require.NoError(t, f.lease.Work(t.Context(), func(context.Context) (passNote, error) { return last, nil }))
		_, err = f.passIfLeader(t.Context(), false)
		require.NoError(t, err)
	}
	finished(time.Now().Add(time.Minute)) // of another machine
	assert.Equal(t, 1, m.counted("list"))
	finished(time.Now().Add(24 * time.Hour))
	assert.Equal(t, 2, m.counted("list"))
}

// An instance that is stopped during a pass releases the lease.
func TestStopped(t *testing.T) {
	m := newMemory(names(100)...)
	table := openTable(t, t.TempDir())
	entered, goOn := make(chan struct{}, 100), make(chan struct{})
	m.failing(func(method, _ string) error {
		if method == "set" {
			entered <- struct{}{}
			<-goOn
		}
		return nil
	})
	f := newFixture(t, m, Config{Policy: All, Table: table, Concurrency: 2})
	f.Start()
	<-entered
	f.stop() // what Stop does first
	close(goOn)
	f.Stop()
	last, elsewhere, err := f.lease.Elsewhere(t.Context())
	require.NoError(t, err)
	assert.False(t, elsewhere)
	assert.Zero(t, last.Finished)
	m.failing(nil)
	f = newFixture(t, m, Config{Policy: All, Table: table})
	wait, err := f.passIfLeader(t.Context(), false)
	require.NoError(t, err)
	assert.Greater(t, wait, DefaultInterval/2)
	for _, user := range names(100) {
		assert.Equal(t, 1, m.sets[user])
	}
}
