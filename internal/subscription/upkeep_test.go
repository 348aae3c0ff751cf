// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription/subscriptiontest"
)

// put writes devices as they are.
func put(t *testing.T, table Table, user string, list ...Subscription) {
	t.Helper()
	value, err := json.Marshal(list)
	require.NoError(t, err)
	_, err = table.Create(t.Context(), queue.Key{user}, value)
	require.NoError(t, err)
}

func stored(t *testing.T, table Table, user string) []Subscription {
	t.Helper()
	e, err := table.Get(t.Context(), queue.Key{user})
	require.NoError(t, err)
	_, list, err := decode(e)
	require.NoError(t, err)
	return list
}

func TestEverySubscriptionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := subscriptiontest.NewMemory()
		at := now()
		put(t, table, "alice",
			Subscription{ID: "old", Name: "Old phone", Expires: at.Add(30 * time.Minute)},
			Subscription{ID: "used", Name: "Phone", Expires: at.Add(40 * time.Minute)})
		put(t, table, "bob", Subscription{ID: "1", Name: "Lost", Expires: at.Add(30 * time.Minute)})
		var told []change
		s := startStore(t, table, &told)
		_, _, err := s.Add(t.Context(), "alice", newDevice(t, "Never confirmed"))
		require.NoError(t, err)
		assert.Equal(t, []string{"Old phone", "Phone", "Never confirmed"}, names(t, s, "alice"))

		s.Used("alice", "used", Delivery{Time: time.Now(), Outcome: Delivered})
		time.Sleep(30 * time.Minute)
		assert.Equal(t, []string{"Phone", "Never confirmed"}, names(t, s, "alice"), "at once")
		assert.Empty(t, names(t, s, "bob"))
		time.Sleep(2 * upkeepInterval)
		synctest.Wait()
		_, err = table.Get(t.Context(), queue.Key{"bob"})
		require.ErrorIs(t, err, queue.ErrNotFound, "and then from the table")
		assert.Equal(t, []change{{"bob", false}}, told)
		assert.Len(t, stored(t, table, "alice"), 2)

		time.Sleep(UnconfirmedLifetime)
		assert.Equal(t, []string{"Phone"}, names(t, s, "alice"))
		assert.Equal(t, at.Add(Lifetime), stored(t, table, "alice")[0].Expires, "it was used")
		all, done := s.Count()
		assert.Equal(t, []int{1, 1}, []int{all, done})
	})
}

// Deliveries are known at once and written now and then.
func TestLastDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := subscriptiontest.NewMemory()
		s := startStore(t, table, nil)
		phone := confirmed(t, s, "alice", newDevice(t, "Phone"))
		last := func() Delivery {
			list, err := s.List("alice")
			require.NoError(t, err)
			require.NotNil(t, list[0].Last)
			return *list[0].Last
		}
		deliver := func(outcome string) Delivery {
			d := Delivery{Time: now(), Outcome: outcome}
			s.Used("alice", phone.ID, d)
			assert.Equal(t, d, last())
			return d
		}
		first := deliver(Delivered)
		time.Sleep(2 * upkeepInterval)
		assert.Equal(t, first, *stored(t, table, "alice")[0].Last)

		deliver(Delivered)
		time.Sleep(2 * upkeepInterval)
		failed := deliver("try_again")
		assert.Equal(t, first, *stored(t, table, "alice")[0].Last, "that would be too many writes")
		time.Sleep(writeUse)
		assert.Equal(t, failed, *stored(t, table, "alice")[0].Last)

		s.Used("alice", "no such device", Delivery{Time: now(), Outcome: Delivered})
		s.Used("nobody", "1", Delivery{Time: now(), Outcome: Delivered})
		end := deliver(Delivered)
		s.Stop()
		assert.Equal(t, end, *stored(t, table, "alice")[0].Last, "what is not written yet")
	})
}

func TestDeliveriesExtendASubscription(t *testing.T) {
	at := now()
	s := Subscription{PushServiceExpiry: at.Add(time.Hour), Expires: at.Add(time.Minute)}
	s.recordDelivery(Delivery{Time: at, Outcome: "try_again"})
	assert.Equal(t, at.Add(time.Minute), s.Expires, "only what arrives counts")
	s.recordDelivery(Delivery{Time: at, Outcome: Delivered})
	assert.Equal(t, at.Add(time.Hour), s.Expires, "its push service ends it")
	s.PushServiceExpiry = time.Time{}
	s.recordDelivery(Delivery{Time: at.Add(-time.Hour), Outcome: Delivered})
	assert.Equal(t, at, s.Last.Time, "the last is the last")
	s.Expires, s.VerificationCode = at.Add(time.Minute), "code"
	s.recordDelivery(Delivery{Time: at.Add(time.Second), Outcome: Delivered})
	assert.Equal(t, at.Add(time.Minute), s.Expires, "it has moved and must confirm that soon")
	assert.False(t, s.expired(s.Expires.Add(-1)))
	assert.True(t, s.expired(s.Expires))
}
