// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// Dovecot cannot open the mail of some users, and fails with every mask that fits
// one of them: all others are registered, and those as soon as it can.
func TestBrokenMail(t *testing.T) {
	all := names(60)
	broken := []string{all[0], all[30], all[31], all[59]}
	eachRegistrar(t, dovecottest.Config{Users: users(all...), NoDebugLog: true}, func(t *testing.T, dovecot *dovecottest.Server, r Registrar) {
		for _, user := range broken {
			require.NoError(t, dovecot.BreakMail(user))
		}
		_, err := r.Get(t.Context(), broken[0])
		require.ErrorIs(t, err, ErrMail)
		require.ErrorIs(t, r.Set(t.Context(), broken[0], "user=x"), ErrMail)
		require.ErrorIs(t, r.Unset(t.Context(), broken[0]), ErrMail)

		f := newFixture(t, nil, Config{Registrar: r, Policy: All})
		for _, user := range all {
			require.NoError(t, f.SetSubscribed(t.Context(), user, true)) // IMAP cannot list them
		}
		f.onePass(t)
		assert.Equal(t, map[State]int{Registered: len(all) - len(broken), Failed: len(broken)}, f.Status().Pass.States)
		outage, _ := f.outage.current()
		assert.Empty(t, outage, "what concerns some users is not taken for what concerns all")
		assert.Contains(t, f.log.String(), "failed=4")
		for _, user := range broken {
			assert.Equal(t, Failed, f.state(t, user))
			require.NoError(t, dovecot.MendMail(user))
		}
		f.onePass(t)
		assert.Equal(t, map[State]int{Registered: len(all)}, f.Status().Pass.States)
		assert.Equal(t, ours(broken[3]), valueIn(t, dovecot, broken[3]))
	})
}

// The file system with the mail of every third user is lost. What is done for
// the others does not wait for it.
func TestLostFileSystem(t *testing.T) {
	all := names(1500)
	lost := func(user string) bool { return strings.ContainsAny(user[:len("user00000")], "36") }
	m := newMemory(all...)
	m.failing(func(method, user string) error {
		prefix := strings.TrimSuffix(user, "*")
		for _, one := range all {
			if method != "list" && strings.HasPrefix(one, prefix) && lost(one) {
				return ErrMail
			}
		}
		return nil
	})
	f := newFixture(t, m, Config{Policy: All})
	f.onePass(t)
	for _, user := range all {
		assert.Equal(t, !lost(user), m.value(user) != "", user)
	}
	assert.Empty(t, f.Status().Outage)
}

// An observer may act on an event at once.
func TestActingOnEvents(t *testing.T) {
	m := newMemory(alice, bob)
	f := newFixture(t, m, Config{})
	f.cfg.Observe = func(e Event) {
		f.Status()
		if e.State == Registered && e.User == alice {
			_, err := f.Unregister(t.Context(), alice)
			assert.NoError(t, err)
		}
	}
	f.outage.observe = f.cfg.Observe
	_, err := f.Register(t.Context(), alice, false)
	require.NoError(t, err)
	assert.Equal(t, Unregistered, f.state(t, alice))
	m.failing(func(string, string) error { return ErrCredentials })
	_, err = f.Register(t.Context(), bob, false)
	require.ErrorIs(t, err, ErrCredentials)
}
