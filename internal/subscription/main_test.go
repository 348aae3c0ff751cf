// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription/subscriptiontest"
)

func TestMain(m *testing.M) { natsleak.VerifyTestMain(m) }

const waitTimeout = 30 * time.Second

// eachTable runs a test on a table of a real queue, and on the one in memory
// that stands in for it where time is virtual.
func eachTable(t *testing.T, run func(*testing.T, Table)) {
	t.Run("queue", func(t *testing.T) { run(t, queuetest.Open(t, queuetest.Config(t.TempDir())).Table("subscriptions")) })
	t.Run("memory", func(t *testing.T) { run(t, subscriptiontest.NewMemory()) })
}

// change is what a store told about a user.
type change struct {
	user string
	any  bool
}

// startStore starts a store; told, if not nil, gets what it tells of users.
func startStore(t testing.TB, table Table, told *[]change) *Store {
	t.Helper()
	cfg := Config{Table: table, Logger: slog.New(slog.DiscardHandler)}
	if told != nil {
		cfg.Changed = func(user string, anyDevice bool) { *told = append(*told, change{user, anyDevice}) }
	}
	s := New(cfg)
	s.Start()
	t.Cleanup(s.Stop)
	require.NoError(t, s.Wait(t.Context()))
	return s
}

func newKeys(t testing.TB) Keys {
	t.Helper()
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	require.NoError(t, err)
	auth := make([]byte, authSize)
	_, _ = rand.Read(auth)
	return Keys{P256DH: key.PublicKey().Bytes(), Auth: auth}
}

func newDevice(t testing.TB, name string) Device {
	t.Helper()
	return Device{Name: name, Address: Address{
		Endpoint: "https://push.example.net/" + rand.Text(), Keys: newKeys(t), ServerKey: "first key",
	}}
}

// confirmed adds a device and gives its code back.
func confirmed(t testing.TB, s *Store, user string, d Device) Subscription {
	t.Helper()
	added, _, err := s.Add(t.Context(), user, d)
	require.NoError(t, err)
	done, err := s.Confirm(t.Context(), user, added.ID, added.VerificationCode)
	require.NoError(t, err)
	require.True(t, done.Confirmed())
	return done
}

func names(t testing.TB, s *Store, user string) []string {
	t.Helper()
	list, err := s.Of(user)
	if errors.Is(err, ErrNotReady) {
		return nil
	}
	require.NoError(t, err)
	all := []string{}
	for _, d := range list {
		all = append(all, d.Name)
	}
	return all
}
