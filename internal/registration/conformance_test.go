// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
)

const bob = "bob@example.com"

// backend is something that registrars talk to.
type backend struct {
	registrar Registrar
	// wrong has the wrong credentials.
	wrong Registrar
	stop  func()
}

// opener makes a backend with the users alice and bob, with or without
// METADATA.
type opener func(t *testing.T, withMetadata bool) backend

// testRegistrar is what every Registrar must do.
func testRegistrar(t *testing.T, open opener) {
	b := open(t, true)
	r := b.registrar

	t.Run("entry", func(t *testing.T) {
		for _, user := range []string{alice, bob} {
			value, err := r.Get(t.Context(), user)
			require.NoError(t, err)
			assert.Empty(t, value)
			require.NoError(t, r.Unset(t.Context(), user), "what is not set can be removed")
		}
		for _, value := range []string{"user=x", ours(alice), "user=\x01t" + "é \"\\ü\t" + mark} {
			require.NoError(t, r.Set(t.Context(), alice, value))
			got, err := r.Get(t.Context(), alice)
			require.NoError(t, err)
			assert.Equal(t, value, got)
			got, err = r.Get(t.Context(), bob)
			require.NoError(t, err)
			assert.Empty(t, got)
		}
		require.NoError(t, r.Unset(t.Context(), alice))
		value, err := r.Get(t.Context(), alice)
		require.NoError(t, err)
		assert.Empty(t, value)
	})

	t.Run("unknown user", func(t *testing.T) {
		_, err := r.Get(t.Context(), "nobody@example.com")
		require.ErrorIs(t, err, ErrUnknownUser)
		require.ErrorIs(t, r.Set(t.Context(), "nobody@example.com", "user=x"), ErrUnknownUser)
		require.ErrorIs(t, r.Unset(t.Context(), "nobody@example.com"), ErrUnknownUser)
		assert.NotContains(t, err.Error(), "nobody")
	})

	t.Run("list", func(t *testing.T) {
		users, err := r.List(t.Context())
		if errors.Is(err, ErrCannotList) {
			_, err = r.Values(t.Context(), "*")
			require.ErrorIs(t, err, ErrCannotList)
			return
		}
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{alice, bob}, users)
		require.NoError(t, r.Set(t.Context(), bob, ours(bob)))
		for mask, want := range map[string]map[string]string{
			"*":   {alice: "", bob: ours(bob)},
			"bo*": {bob: ours(bob)},
			"x*":  {},
		} {
			values, err := r.Values(t.Context(), mask)
			require.NoError(t, err)
			assert.Equal(t, want, values)
		}
		require.NoError(t, r.Unset(t.Context(), bob))
	})

	t.Run("wrong credentials", func(t *testing.T) {
		_, err := b.wrong.Get(t.Context(), alice)
		require.ErrorIs(t, err, ErrCredentials)
		require.ErrorIs(t, b.wrong.Set(t.Context(), alice, "user=x"), ErrCredentials)
		require.ErrorIs(t, b.wrong.Unset(t.Context(), alice), ErrCredentials)
		assert.NotContains(t, err.Error(), "wrong-secret")
	})

	t.Run("no METADATA", func(t *testing.T) {
		r := open(t, false).registrar
		_, err := r.Get(t.Context(), alice)
		require.ErrorIs(t, err, ErrNoMetadata)
		require.ErrorIs(t, r.Set(t.Context(), alice, "user=x"), ErrNoMetadata)
		assert.ErrorContains(t, err, "mail_attribute_dict")
		assert.ErrorContains(t, err, "imap_metadata")
	})

	t.Run("gives up", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := r.Get(ctx, alice)
		require.ErrorIs(t, err, ErrTemporary)
	})

	t.Run("down", func(t *testing.T) {
		b.stop()
		_, err := r.Get(t.Context(), alice)
		require.ErrorIs(t, err, ErrTemporary)
		require.ErrorIs(t, r.Set(t.Context(), alice, "user=x"), ErrTemporary)
		require.ErrorIs(t, r.Unset(t.Context(), alice), ErrTemporary)
	})
}

func TestDoveAdm(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		testRegistrar(t, func(t *testing.T, withMetadata bool) backend {
			dovecot := startDovecot(t, version, withMetadata)
			return backend{
				registrar: NewDoveAdm(newClient(t, dovecot.APIKey(), dovecot.DoveAdmURL())),
				wrong:     NewDoveAdm(newClient(t, "wrong-secret", dovecot.DoveAdmURL())),
				stop:      func() { require.NoError(t, dovecot.Stop()) },
			}
		})
	})
}

func newClient(t testing.TB, secret string, endpoints ...string) *doveadm.Client {
	t.Helper()
	client, err := doveadm.New(doveadm.Config{Endpoints: endpoints, APISecret: secret})
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return client
}

func TestMemory(t *testing.T) {
	testRegistrar(t, func(_ *testing.T, withMetadata bool) backend {
		m, wrong := newMemory(alice, bob), newMemory(alice, bob)
		wrong.failing(func(string, string) error { return ErrCredentials })
		if !withMetadata {
			m.failing(func(string, string) error { return ErrNoMetadata })
		}
		return backend{registrar: m, wrong: wrong, stop: func() {
			m.failing(func(string, string) error { return ErrTemporary })
		}}
	})
}

// boss is the master user of the tests.
var boss = dovecottest.User{Name: "boss", Password: "boss-secret"}

func startDovecot(t *testing.T, version dovecottest.Version, withMetadata bool) *dovecottest.Server {
	t.Helper()
	return dovecottest.Start(t, dovecottest.Config{
		Version: version, Master: boss, IMAPMetadata: true, NoAttributeDict: !withMetadata,
		Users:          []dovecottest.User{{Name: alice, Password: "a-secret"}, {Name: bob, Password: "b-secret"}},
		NoFailureDelay: true,
	})
}

func TestIMAP(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		testRegistrar(t, func(t *testing.T, withMetadata bool) backend {
			dovecot := startDovecot(t, version, withMetadata)
			server, err := imap.New(imap.Config{URL: "imap://" + dovecot.IMAPAddr()})
			require.NoError(t, err)
			return backend{
				registrar: NewIMAP(server, MasterUser{Name: boss.Name, Password: boss.Password}),
				wrong:     NewIMAP(server, MasterUser{Name: boss.Name, Password: "wrong-secret"}),
				stop:      func() { require.NoError(t, dovecot.Stop()) },
			}
		})
	})
}

// Without a master user, users are registered with their own login when they
// sign in.
func TestOwnLogin(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		dovecot := startDovecot(t, version, true)
		server, err := imap.New(imap.Config{URL: "imap://" + dovecot.IMAPAddr()})
		require.NoError(t, err)
		f := newFixture(t, nil, Config{Registrar: NewIMAP(server, MasterUser{})})
		f.Start()
		reg, err := f.Register(t.Context(), alice, false)
		require.ErrorIs(t, err, ErrNeedsLogin)
		assert.Equal(t, Wanted, reg.State)
		assert.Equal(t, ReasonNeedsLogin, reg.Reason)

		for _, user := range []dovecottest.User{{Name: alice, Password: "a-secret"}, {Name: bob, Password: "b-secret"}} {
			require.NoError(t, f.SignedIn(t.Context(), user.Name, user.Name, user.Password))
			assert.Equal(t, Registered, f.state(t, user.Name))
			out, err := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", user.Name, "", Entry)
			require.NoError(t, err)
			assert.Equal(t, ours(user.Name)+"\n", out)
		}
		require.NoError(t, f.SetSubscribed(t.Context(), bob, true))
		assert.Equal(t, Registered, f.state(t, bob))
		require.ErrorIs(t, f.SignedIn(t.Context(), alice, alice, "wrong"), ErrNeedsLogin)
		assert.Empty(t, f.Status().Outage)
	})
}
