// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription/subscriptiontest"
)

func TestRestart(t *testing.T) {
	dir := t.TempDir()
	q := queuetest.Open(t, queuetest.Config(dir))
	s := startStore(t, q.Table("subscriptions"), nil)
	phone := confirmed(t, s, "alice", newDevice(t, "Phone"))
	laptop, _, err := s.Add(t.Context(), "alice", newDevice(t, "Laptop"))
	require.NoError(t, err)
	confirmed(t, s, "bob", newDevice(t, "Tablet"))
	s.Stop()
	require.NoError(t, q.Close())

	s = startStore(t, queuetest.Open(t, queuetest.Config(dir)).Table("subscriptions"), nil)
	list, err := s.Of("alice")
	require.NoError(t, err)
	assert.Equal(t, []Subscription{phone, laptop}, list)
	assert.Equal(t, []string{"Tablet"}, names(t, s, "bob"))
	all, done := s.Count()
	assert.Equal(t, []int{3, 2}, []int{all, done})
	count, err := s.ServerKeys()
	require.NoError(t, err)
	assert.Equal(t, map[string]int{"first key": 3}, count)
}

// Nothing is answered before the table has been read.
func TestUsers(t *testing.T) {
	s := startStore(t, subscriptiontest.NewMemory(), nil)
	confirmed(t, s, "alice@example.com", newDevice(t, "phone"))
	confirmed(t, s, "alice@example.com", newDevice(t, "laptop"))
	_, _, err := s.Add(t.Context(), "bob@example.com", newDevice(t, "not confirmed"))
	require.NoError(t, err)
	users, err := s.Users(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"alice@example.com"}, users)
}

func TestNotReady(t *testing.T) {
	s := New(Config{Table: subscriptiontest.NewMemory(), Logger: slog.New(slog.DiscardHandler)})
	_, err := s.Of("alice")
	require.ErrorIs(t, err, ErrNotReady)
	_, err = s.List("alice")
	require.ErrorIs(t, err, ErrNotReady)
	_, err = s.Find("alice", "1")
	require.ErrorIs(t, err, ErrNotReady)
	_, err = s.ServerKeys()
	require.ErrorIs(t, err, ErrNotReady)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, s.Wait(ended), ErrNotReady)
	s.Stop()
}

// Two Caddys with one table see each other's changes, and the limit is that
// of both.
func TestTwoStores(t *testing.T) {
	eachTable(t, testTwoStores)
}

func testTwoStores(t *testing.T, table Table) {
	a, b := startStore(t, table, nil), startStore(t, table, nil)
	sees := func(s *Store, want ...string) {
		t.Helper()
		require.Eventually(t, func() bool { return assert.ObjectsAreEqual(want, names(t, s, "alice")) }, waitTimeout, waitTimeout/10_000)
	}
	phone, _, err := a.Add(t.Context(), "alice", newDevice(t, "Phone"))
	require.NoError(t, err)
	sees(a, "Phone")
	sees(b, "Phone")
	_, err = b.Confirm(t.Context(), "alice", phone.ID, phone.VerificationCode)
	require.NoError(t, err)
	_, err = b.Rename(t.Context(), "alice", phone.ID, "My phone")
	require.NoError(t, err)
	sees(a, "My phone")
	require.NoError(t, a.Remove(t.Context(), "alice", phone.ID))
	assert.Empty(t, names(t, a, "alice"), "at once")
	require.Eventually(t, func() bool { return len(names(t, b, "alice")) == 0 }, waitTimeout, waitTimeout/10_000)

	results := make(chan error, 2*MaxPerUser)
	for i, s := range []*Store{a, b} {
		go func() {
			for n := range MaxPerUser {
				_, _, err := s.Add(t.Context(), "alice", newDevice(t, fmt.Sprint("device ", i, n)))
				results <- err
			}
		}()
	}
	added := 0
	for range cap(results) {
		if err := <-results; err == nil {
			added++
		} else {
			assert.ErrorIs(t, err, ErrTooMany)
		}
	}
	assert.Equal(t, MaxPerUser, added)
	require.Eventually(t, func() bool { return len(names(t, a, "alice")) == MaxPerUser }, waitTimeout, waitTimeout/10_000)
	require.Eventually(t, func() bool { return len(names(t, b, "alice")) == MaxPerUser }, waitTimeout, waitTimeout/10_000)
}

// An entry that cannot be read, by a later version perhaps, keeps nothing
// from the others.
func TestUnreadableEntry(t *testing.T) {
	eachTable(t, testUnreadableEntry)
}

func testUnreadableEntry(t *testing.T, table Table) {
	_, err := table.Create(t.Context(), queue.Key{"mallory"}, []byte(`{"version":2}`))
	require.NoError(t, err)
	_, err = table.Create(t.Context(), queue.Key{"mallory", "two parts"}, []byte(`[]`))
	require.NoError(t, err)
	s := startStore(t, table, nil)
	confirmed(t, s, "alice", newDevice(t, "Phone"))
	_, _, err = s.Add(t.Context(), "mallory", newDevice(t, "Phone"))
	require.Error(t, err, "it is not overwritten")
	assert.Equal(t, []string{"Phone"}, names(t, s, "alice"))
}

// When the table is read again, what was deleted meanwhile is forgotten, and
// what this store wrote meanwhile is not.
func TestReadAnew(t *testing.T) {
	s := New(Config{Logger: slog.New(slog.DiscardHandler)})
	of := func(name string) []Subscription { return []Subscription{{Name: name, Expires: now().Add(Lifetime)}} }
	s.replace(map[string]devices{"alice": {of("old"), 3}, "bob": {of("Phone"), 4}}, 4)
	s.apply("carol", of("written meanwhile"), 9, false)
	s.apply("dave", of("written meanwhile"), 10, false)
	s.replace(map[string]devices{"alice": {of("new"), 7}, "dave": {of("old"), 6}}, 8)
	assert.Equal(t, []string{"new"}, names(t, s, "alice"))
	assert.Empty(t, names(t, s, "bob"))
	assert.Equal(t, []string{"written meanwhile"}, names(t, s, "carol"))
	assert.Equal(t, []string{"written meanwhile"}, names(t, s, "dave"))

	s.apply("dave", of("late"), 6, false)
	assert.Equal(t, []string{"written meanwhile"}, names(t, s, "dave"), "an older change that comes later")
	s.apply("dave", nil, 10, false)
	s.apply("dave", of("late"), 7, false)
	assert.Empty(t, names(t, s, "dave"), "one that comes after the end")
	s.apply("dave", nil, 11, true)
	assert.NotContains(t, s.users, "dave")
}

// Many changes of one user at the same time are all made.
func TestManyChangesAtOnce(t *testing.T) { eachTable(t, testManyChangesAtOnce) }

func testManyChangesAtOnce(t *testing.T, table Table) {
	s := startStore(t, table, nil)
	results := make(chan error)
	for i := range MaxPerUser {
		device := newDevice(t, fmt.Sprint("device ", i))
		go func() {
			_, _, err := s.Add(t.Context(), "alice", device)
			results <- err
		}()
	}
	for range MaxPerUser {
		assert.NoError(t, <-results)
	}
	assert.Len(t, names(t, s, "alice"), MaxPerUser)
}
