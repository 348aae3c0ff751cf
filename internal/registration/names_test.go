// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// A user is one user, in whatever spelling an operator, a device or Dovecot's
// list has the name.
func TestOneName(t *testing.T) {
	m := newMemory(alice, bob)
	f := newFixture(t, m, Config{})
	reg, err := f.Register(t.Context(), "Alice@Example.COM", false)
	require.NoError(t, err)
	assert.Equal(t, alice, reg.User)
	assert.Equal(t, ours(alice), m.value(alice))
	require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
	require.NoError(t, f.RegisterMany(t.Context(), []string{"BOB@example.com", bob, "ALICE@example.com"}, false,
		func(n int) { assert.Equal(t, 2, n) }, func(Registration) {}))
	reg, err = f.Registration(t.Context(), "aLICE@EXAMPLE.com")
	require.NoError(t, err)
	assert.Equal(t, Registered, reg.State)
	assert.True(t, reg.Subscribed)
	all := 0
	for _, err := range f.Registrations(t.Context()) {
		require.NoError(t, err)
		all++
	}
	assert.Equal(t, 2, all)
	_, err = f.Unregister(t.Context(), "ALICE@EXAMPLE.COM")
	require.NoError(t, err)
	assert.Empty(t, m.value(alice))
}

// Dovecot's list may have names in another spelling than Dovecot uses, and
// entries that are no names.
func TestListedNames(t *testing.T) {
	long := strings.Repeat("y", username.Max+1)
	for name, test := range map[string]struct {
		canonical func(string) string
		want      []string
	}{
		"folded":  {username.Fold, []string{"a", "b", "bob", "c", "carol smith", "d", "e", "f", "g", "h", "i", "j", "k", "l"}},
		"minded":  {func(s string) string { return s }, []string{"A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L", "bob", "carol smith"}},
		"one not": {func(s string) string { return strings.Replace(username.Fold(s), "c", "x", 1) }, []string{"a", "b", "bob", "carol smith", "d", "e", "f", "g", "h", "i", "j", "k", "l", "x"}},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMemory("", "tab\tname", "nul\x00", long, "bob", "carol smith", "A", "B", "C", "D", "E", "F", "G", "H", "I", "J", "K", "L")
			asked := 0
			f := newFixture(t, m, Config{Policy: All, Canonical: func(_ context.Context, login string) (string, error) {
				asked++
				return test.canonical(login), username.Valid(login)
			}})
			users, refused, err := f.list(t.Context())
			require.NoError(t, err)
			assert.Equal(t, test.want, users)
			assert.Equal(t, []string{"", "nul\x00", "tab\tname", long}, refused)
			if name != "one not" {
				assert.Equal(t, sampleSize, asked, "the others are as the first")
			}
		})
	}
}

// No listed name stops others, and all of them are reported.
func TestRegisterAllWithOddNames(t *testing.T) {
	m := newMemory("", "tab\tname", "a*b", alice, bob)
	m.failing(func(method, user string) error {
		if method != "values" && user == "a*b" {
			return errWildcard
		}
		return nil
	})
	f := newFixture(t, m, Config{Policy: Off})
	told := make(map[string]Registration)
	total := 0
	require.NoError(t, f.RegisterMany(t.Context(), nil, false, func(n int) { total = n },
		func(reg Registration) { told[reg.User] = reg }))
	assert.Equal(t, 5, total)
	require.Len(t, told, 5)
	for _, user := range []string{"", "tab\tname", "a*b"} {
		require.ErrorIs(t, told[user].Err, ErrName, user)
		assert.Equal(t, ReasonName, told[user].Reason, user)
	}
	assert.ErrorContains(t, told[""].Err, "is empty")
	assert.ErrorContains(t, told["a*b"].Err, "* or ?")
	assert.Equal(t, ours(alice), m.value(alice))
	assert.Equal(t, ours(bob), m.value(bob))

	f = newFixture(t, m, Config{Policy: All})
	f.onePass(t)
	assert.Empty(t, f.Status().Outage)
	assert.Contains(t, f.log.String(), "names that no user can have")
}

// An operator can remove whatever there is about a user, also what cannot be
// asked about or read.
func TestAlwaysRemovable(t *testing.T) {
	m := newMemory(alice)
	f := newFixture(t, m, Config{Registrar: badNames{m}})
	_, err := f.cfg.Table.Put(t.Context(), userKey("a*b"), []byte(`{"by_hand":"registered","state":"failed","since":"2026-01-01T00:00:00Z"}`))
	require.NoError(t, err)
	_, err = f.cfg.Table.Put(t.Context(), userKey("Old@Spelling"), []byte(`{"by_hand":"registered","state":"failed","since":"2026-01-01T00:00:00Z"}`))
	require.NoError(t, err)
	_, err = f.cfg.Table.Put(t.Context(), userKey("broken"), []byte(`{"by_hand":`))
	require.NoError(t, err)
	require.NoError(t, f.SetSubscribed(t.Context(), "star*", true))
	f.onePass(t)
	for _, user := range []string{"a*b", "Old@Spelling", "broken", "star*"} {
		_, err := f.Unregister(t.Context(), user)
		if err != nil {
			require.ErrorIs(t, err, ErrUnknownUser, user)
		}
	}
	f.onePass(t)
	for reg, err := range f.Registrations(t.Context()) {
		require.NoError(t, err)
		assert.Equal(t, "star*", reg.User, "the user has devices, so that it is kept what the operator decided")
		assert.Equal(t, byHandUnregistered, reg.ByHand)
	}
	_, err = f.Register(t.Context(), "*", false)
	require.ErrorIs(t, err, ErrName)
	assert.ErrorContains(t, err, "* or ?")
	_, revision, err := f.load(t.Context(), "*")
	require.NoError(t, err)
	assert.Zero(t, revision, "what was asked for by mistake is not kept")
}

// badNames refuses wildcards as DoveAdm does.
type badNames struct{ *memory }

func (b badNames) Get(ctx context.Context, user string) (string, error) {
	if username.HasWildcard(user) {
		return "", errWildcard
	}
	return b.memory.Get(ctx, user)
}

// Each name from the field is served or refused by both registrars on a real
// Dovecot that takes any character, and none of them stops the others.
func TestOddNamesOnDovecot(t *testing.T) {
	odd := oddNames(t)
	accounts := []dovecottest.User{{Name: alice, Password: "a-secret"}, {Name: bob, Password: "b-secret"}}
	known := map[string]bool{alice: true, bob: true}
	for _, name := range odd {
		if username.Valid(name) == nil && !strings.ContainsAny(name, ":/") && strings.TrimSpace(name) == name && len(name) < 200 && !known[name] {
			known[name] = true
			accounts = append(accounts, dovecottest.User{Name: name, Password: "secret"})
		}
	}
	cfg := dovecottest.Config{Users: accounts, ExtraConfig: "auth_username_chars =\nauth_username_format = {{if eq .Version \"2.4\"}}%{user}{{else}}%u{{end}}\n", NoDebugLog: true}
	eachRegistrar(t, cfg, func(t *testing.T, dovecot *dovecottest.Server, r Registrar) {
		f := newFixture(t, nil, Config{Registrar: r, Policy: OnSubscribe, Canonical: func(_ context.Context, login string) (string, error) {
			return login, username.Valid(login)
		}})
		reported := make(map[string]Registration)
		require.NoError(t, f.RegisterMany(t.Context(), append(odd, alice, bob), false, func(int) {}, func(reg Registration) { reported[reg.User] = reg }))
		assert.Empty(t, f.Status().Outage)
		registered := 0
		for _, name := range append(odd, alice, bob) {
			reg, ok := reported[name]
			require.True(t, ok, "%q is neither served nor refused", name)
			if reg.Err == nil {
				registered++
				assert.Equal(t, Registered, reg.State)
			} else {
				assert.Contains(t, []Reason{ReasonName, ReasonUnknownUser, ReasonTemporary}, classOf(reg.Err).reason, "%q", name)
			}
		}
		t.Logf("%T: %d of %d registered", r, registered, len(odd)+2)
		assert.Equal(t, Registered, f.state(t, bob), "the last one")
		for _, name := range []string{alice, bob, "carol smith", "-A", ">", "Alice@Example.ORG"} {
			if known[name] {
				require.NoError(t, reported[name].Err, name)
				assert.Equal(t, ours(name), valueIn(t, dovecot, name))
			}
		}
		if _, isDoveAdm := r.(*DoveAdm); isDoveAdm {
			require.ErrorIs(t, reported["a*b"].Err, ErrName)
		}
		require.NoError(t, f.UnregisterMany(t.Context(), nil, func(int) {}, func(reg Registration) {
			if before := reported[reg.User].Err; before != nil && classOf(before).reason == ReasonTemporary {
				return // whose mail Dovecot cannot open, such as "..", has no entry to remove
			}
			assert.NoError(t, reg.Err, reg.User)
		}))
		assert.Empty(t, f.Status().Outage)
	})
}

func oddNames(t *testing.T) (all []string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.FromSlash("../username/testdata/names.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &all))
	return all
}
