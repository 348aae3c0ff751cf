// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

const alice = "alice@example.com"

func TestSetSubscribed(t *testing.T) {
	m := newMemory(alice, "bob@example.com")
	f := newFixture(t, m, Config{Grace: 50 * time.Millisecond})
	f.Start()
	require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
	eventually(t, func() bool { return f.state(t, alice) == Registered })
	assert.Equal(t, ours(alice), m.value(alice))
	assert.Empty(t, m.value("bob@example.com"), "who did not subscribe is not registered")

	require.NoError(t, f.SetSubscribed(t.Context(), alice, false))
	eventually(t, func() bool { return m.value(alice) == "" })
	eventually(t, func() bool { return f.state(t, alice) == Unregistered })
	f.Stop() // the event comes after the state
	assert.Equal(t, []string{"registered alice@example.com", "unregistered alice@example.com"}, f.events.take())
	_, revision, err := f.load(t.Context(), alice)
	require.NoError(t, err)
	assert.Zero(t, revision, "nothing is left of it")
}

// Within the grace time a user stays registered, over a restart as well, and a
// new subscription ends it.
func TestGrace(t *testing.T) {
	m := newMemory(alice)
	table := openTable(t, t.TempDir())
	f := newFixture(t, m, Config{Grace: time.Hour, Table: table})
	require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
	f.onePass(t)
	assert.Equal(t, Registered, f.state(t, alice))
	require.NoError(t, f.SetSubscribed(t.Context(), alice, false))
	f.onePass(t)
	assert.Equal(t, ours(alice), m.value(alice))
	require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
	reg, err := f.Registration(t.Context(), alice)
	require.NoError(t, err)
	assert.True(t, reg.Subscribed)
	assert.Zero(t, reg.Until)
	require.NoError(t, f.SetSubscribed(t.Context(), alice, false))

	f = newFixture(t, m, Config{Grace: time.Hour, Table: table})
	require.NoError(t, f.update(t.Context(), alice, func(rec *record) { rec.Until = time.Now().Add(50 * time.Millisecond) }))
	f.Start()
	eventually(t, func() bool { return m.value(alice) == "" })
}

// The end of the grace time of a user who stays registered is looked at once.
func TestGraceOfRegistered(t *testing.T) {
	queuetest.InVirtualTime(t, func(t *testing.T) {
		m := newMemory(alice)
		f := newFixture(t, m, Config{Policy: All, Grace: time.Minute, Interval: 24 * time.Hour})
		f.Start()
		require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
		synctest.Wait()
		require.NoError(t, f.SetSubscribed(t.Context(), alice, false))
		synctest.Wait()
		m.reset()
		m.failing(func(string, string) error {
			if m.counted("get") > 100 {
				time.Sleep(time.Hour) // virtual time does not go on while something is busy
			}
			return nil
		})
		time.Sleep(10 * time.Minute)
		assert.Equal(t, ours(alice), m.value(alice))
		assert.LessOrEqual(t, m.counted("get"), 2)
		assert.Positive(t, m.counted("get"))
	})
}

func TestByHand(t *testing.T) {
	m := newMemory(alice)
	f := newFixture(t, m, Config{})
	reg, err := f.Register(t.Context(), alice, false)
	require.NoError(t, err)
	assert.Equal(t, Registered, reg.State)
	assert.Equal(t, ours(alice), m.value(alice))
	reg, err = f.Unregister(t.Context(), alice)
	require.NoError(t, err)
	assert.Equal(t, Unregistered, reg.State)
	assert.Empty(t, m.value(alice))
	_, revision, err := f.load(t.Context(), alice)
	require.NoError(t, err)
	assert.Zero(t, revision, "nothing would register the user again, so nothing is remembered")

	_, err = f.Register(t.Context(), "", false)
	require.ErrorIs(t, err, ErrName)
	require.ErrorIs(t, f.SetSubscribed(t.Context(), "", true), ErrName)
}

// What an operator decided stands above subscriptions and policy, until it is
// decided otherwise.
func TestByHandAboveAllElse(t *testing.T) {
	for _, policy := range []Policy{All, OnSubscribe} {
		m := newMemory(alice)
		f := newFixture(t, m, Config{Policy: policy})
		require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
		f.onePass(t)
		require.Equal(t, ours(alice), m.value(alice))
		_, err := f.Unregister(t.Context(), alice)
		require.NoError(t, err)
		require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
		f.onePass(t)
		assert.Empty(t, m.value(alice), policy)
		reg, err := f.Registration(t.Context(), alice)
		require.NoError(t, err)
		assert.Equal(t, "unregistered", reg.ByHand)
		_, err = f.Register(t.Context(), alice, false)
		require.NoError(t, err)
		require.NoError(t, f.SetSubscribed(t.Context(), alice, false))
		f.onePass(t)
		assert.Equal(t, ours(alice), m.value(alice), policy)
	}
}

// Wishes that were not told are found in the list of those who have
// subscriptions.
func TestSubscribers(t *testing.T) {
	m := newMemory(alice, bob)
	subscribers := []string{alice, "nobody@example.com"}
	f := newFixture(t, m, Config{Subscribers: func(context.Context) ([]string, error) { return subscribers, nil }})
	require.NoError(t, f.SetSubscribed(t.Context(), bob, true))
	f.onePass(t)
	assert.Equal(t, ours(alice), m.value(alice))
	assert.Empty(t, m.value(bob), "whose subscription is gone")
	assert.Equal(t, UnknownUser, f.state(t, "nobody@example.com"))
	m.reset()
	f.onePass(t)
	assert.Equal(t, UnknownUser, f.state(t, "nobody@example.com"), "it is not wanted again for that")
	subscribers = nil
	f.onePass(t)
	assert.Empty(t, m.value(alice))
}

// Who subscribes while it is read who has subscriptions is not taken for
// somebody whose subscription is gone.
func TestSubscribedMeanwhile(t *testing.T) {
	m := newMemory(alice)
	var f *fixture
	var subscribers []string
	f = newFixture(t, m, Config{Subscribers: func(ctx context.Context) ([]string, error) {
		before := subscribers
		subscribers = []string{alice}
		return before, f.SetSubscribed(ctx, alice, true)
	}})
	f.onePass(t)
	assert.Equal(t, ours(alice), m.value(alice))
}

// With "register off" nothing happens of its own accord.
func TestOff(t *testing.T) {
	m := newMemory(alice, "bob@example.com")
	m.put("bob@example.com", ours("bob@example.com"))
	f := newFixture(t, m, Config{Policy: Off})
	f.Start()
	require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
	_, err := f.Register(t.Context(), "bob@example.com", false)
	require.NoError(t, err)
	_, err = f.Unregister(t.Context(), "bob@example.com")
	require.NoError(t, err)
	f.Stop()
	assert.Empty(t, m.value(alice))
	assert.Empty(t, m.value("bob@example.com"))
	assert.Zero(t, m.counted("list"))
}

func TestForeignValue(t *testing.T) {
	const foreign = "user=17@4"
	m := newMemory(alice)
	m.put(alice, foreign)
	f := newFixture(t, m, Config{Policy: All})
	for range 2 {
		f.onePass(t)
		assert.Equal(t, foreign, m.value(alice))
		assert.Equal(t, Conflict, f.state(t, alice))
	}
	assert.Equal(t, []string{"conflict alice@example.com foreign_value"}, f.events.take(), "it is reported once")
	reg, err := f.Register(t.Context(), alice, false)
	require.ErrorIs(t, err, ErrConflict)
	assert.Equal(t, ReasonForeign, reg.Reason)
	_, err = f.Unregister(t.Context(), alice)
	require.NoError(t, err)
	assert.Equal(t, foreign, m.value(alice), "and it is not removed")

	_, err = f.Register(t.Context(), alice, true)
	require.NoError(t, err)
	assert.Equal(t, ours(alice), m.value(alice))

	m.put(alice, foreign)
	f = newFixture(t, m, Config{Policy: All, Takeover: true})
	f.onePass(t)
	assert.Equal(t, ours(alice), m.value(alice))
}

// An entry of ours with another value is made right: the template has changed.
func TestOurOldValue(t *testing.T) {
	m := newMemory(alice)
	m.put(alice, "user=old\t"+mark)
	f := newFixture(t, m, Config{Policy: All})
	f.onePass(t)
	assert.Equal(t, ours(alice), m.value(alice))
}

func TestUnknownUser(t *testing.T) {
	m := newMemory(alice)
	f := newFixture(t, m, Config{})
	reg, err := f.Register(t.Context(), "nobody@example.com", false)
	require.ErrorIs(t, err, ErrUnknownUser)
	assert.Equal(t, UnknownUser, reg.State)
	assert.Empty(t, reg.ByHand, "it is not wanted any more")
	require.NoError(t, f.SetSubscribed(t.Context(), "nobody@example.com", true))
	f.onePass(t)
	reg, err = f.Registration(t.Context(), "nobody@example.com")
	require.NoError(t, err)
	assert.Equal(t, UnknownUser, reg.State)
	assert.False(t, reg.Subscribed)
	assert.Equal(t, []string{"unknown_user nobody@example.com unknown_user"}, slices.Compact(f.events.take()))

	m.reset()
	f.onePass(t)
	assert.Zero(t, m.counted("get"), "it is not asked about again")

	m.put("nobody@example.com", "") // the account is made
	require.NoError(t, f.SetSubscribed(t.Context(), "nobody@example.com", true))
	f.onePass(t)
	assert.Equal(t, ours("nobody@example.com"), m.value("nobody@example.com"))

	// After a week nothing is left.
	_, err = f.Register(t.Context(), "other@example.com", false)
	require.ErrorIs(t, err, ErrUnknownUser)
	require.NoError(t, f.update(t.Context(), "other@example.com", func(rec *record) { rec.Since = time.Now().Add(-keepUnknown) }))
	f.onePass(t)
	_, revision, err := f.load(t.Context(), "other@example.com")
	require.NoError(t, err)
	assert.Zero(t, revision)
}

// A user who fails is attempted again, and the others are not held up.
func TestTemporaryFailure(t *testing.T) {
	m := newMemory(alice, "bob@example.com")
	var attempts atomic.Int32
	goOn := make(chan struct{})
	end := sync.OnceFunc(func() { close(goOn) })
	m.failing(func(_, user string) error {
		switch {
		case user != alice:
		case attempts.Add(1) == 1:
			return errors.Join(ErrTemporary)
		default:
			<-goOn
		}
		return nil
	})
	f := newFixture(t, m, Config{})
	t.Cleanup(end)
	f.Start()
	require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
	require.NoError(t, f.SetSubscribed(t.Context(), "bob@example.com", true))
	eventually(t, func() bool { return f.state(t, "bob@example.com") == Registered })
	eventually(t, func() bool { return f.state(t, alice) == Failed })
	end()
	eventually(t, func() bool { return f.state(t, alice) == Registered })
	f.Stop() // an event follows its change
	assert.Equal(t, []string{"failed alice@example.com temporary", "registered alice@example.com", "registered bob@example.com"}, f.events.take())
}

// What keeps everybody from being registered is reported once, stops the pass,
// and is found to be over.
func TestTroubleForAll(t *testing.T) {
	for _, test := range []struct {
		err    error
		reason Reason
		says   string
	}{
		{ErrNoMetadata, ReasonNoMetadata, "mail_attribute_dict"},
		{ErrCredentials, ReasonCredentials, "is paused until Dovecot accepts"},
		{ErrTemporary, ReasonTemporary, "is paused until Dovecot answers"},
	} {
		t.Run(string(test.reason), func(t *testing.T) {
			users := names(1000)
			m := newMemory(users...)
			m.failing(func(method, _ string) error {
				if method == "list" {
					return nil
				}
				return test.err
			})
			f := newFixture(t, m, Config{Policy: All})
			f.Start()
			eventually(t, func() bool { return m.counted("list") >= 4 })
			assert.Equal(t, test.reason, f.Status().Outage)
			require.ErrorIs(t, f.Status().Err, test.err)
			m.failing(nil)
			eventually(t, func() bool {
				return f.state(t, users[len(users)-1]) == Registered && f.state(t, users[0]) == Registered
			})
			eventually(t, func() bool { return f.Status().Pass != nil && !f.Status().Pass.Ended.IsZero() })
			assert.Empty(t, f.Status().Outage)
			f.Stop()
			told := slices.DeleteFunc(f.events.take(), func(s string) bool { return strings.HasPrefix(s, "registered") })
			assert.Equal(t, "failed  "+string(test.reason), told[0])
			if classOf(test.err).scope == ofAll {
				assert.Len(t, told, 1, "it is not told of each user")
			} else {
				assert.Less(t, len(told), 4*(downAfter+DefaultConcurrency))
			}
			log := f.log.String()
			assert.Equal(t, 1, strings.Count(log, "level=ERROR"), log)
			assert.Contains(t, log, test.says)
			assert.Contains(t, log, "registration resumes")
			assert.NotContains(t, log, "user0", "no log line names a user")
		})
	}
}

// A change during an outage is not lost.
func TestWishDuringTrouble(t *testing.T) {
	m := newMemory(alice)
	m.failing(func(string, string) error { return ErrCredentials })
	f := newFixture(t, m, Config{})
	f.Start()
	require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
	eventually(t, func() bool { return f.Status().Outage == ReasonCredentials })
	_, err := f.Register(t.Context(), alice, false)
	require.ErrorIs(t, err, ErrCredentials, "an operator hears of it")
	m.failing(nil)
	eventually(t, func() bool { return f.state(t, alice) == Registered })
}
