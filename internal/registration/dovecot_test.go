// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
)

// eachRegistrar runs a test with every registrar on every Dovecot.
func eachRegistrar(t *testing.T, cfg dovecottest.Config, test func(t *testing.T, dovecot *dovecottest.Server, r Registrar)) {
	t.Helper()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		cfg.Version, cfg.Master, cfg.IMAPMetadata = version, boss, true
		t.Run("doveadm", func(t *testing.T) {
			dovecot := dovecottest.Start(t, cfg)
			test(t, dovecot, NewDoveAdm(newClient(t, dovecot.APIKey(), dovecot.DoveAdmURL())))
		})
		t.Run("imap", func(t *testing.T) {
			dovecot := dovecottest.Start(t, cfg)
			server, err := imap.New(imap.Config{URL: "imap://" + dovecot.IMAPAddr(), ConnectTimeout: time.Minute, Timeout: time.Minute})
			require.NoError(t, err)
			test(t, dovecot, NewIMAP(server, MasterUser{Name: boss.Name, Password: boss.Password}))
		})
	})
}

func users(names ...string) []dovecottest.User {
	all := make([]dovecottest.User, len(names))
	for i, name := range names {
		all[i] = dovecottest.User{Name: name, Password: "secret"}
	}
	return all
}

// valueIn asks Dovecot itself for a user's entry.
func valueIn(t *testing.T, dovecot *dovecottest.Server, user string) string {
	t.Helper()
	out, err := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", user, "", Entry)
	require.NoError(t, err)
	return strings.TrimSuffix(out, "\n")
}

// Mail of a user who was registered is notified, and no mail after that.
func TestNotified(t *testing.T) {
	var notified atomic.Int32
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), `"user":"`+alice+`"`) {
			notified.Add(1)
		}
	}))
	defer endpoint.Close()
	cfg := dovecottest.Config{Users: users(alice), Drivers: []dovecottest.Driver{{URL: endpoint.URL}}}
	eachRegistrar(t, cfg, func(t *testing.T, dovecot *dovecottest.Server, r Registrar) {
		notified.Store(0)
		f := newFixture(t, nil, Config{Registrar: r})
		deliver := func() int32 {
			_, err := dovecot.Deliver("carol@example.net", []string{alice}, []byte("Subject: x\n\nHello.\n"))
			require.NoError(t, err)
			return notified.Swap(0)
		}
		assert.EqualValues(t, 0, deliver())
		_, err := f.Register(t.Context(), alice, false)
		require.NoError(t, err)
		assert.EqualValues(t, 1, deliver())
		_, err = f.Unregister(t.Context(), alice)
		require.NoError(t, err)
		assert.EqualValues(t, 0, deliver())
	})
}

// Dovecot may know a mailbox by several names, which then share its entry: it
// stays the one of the name that came first, until that goes.
func TestTwoNamesOfOneMailbox(t *testing.T) {
	const short = "alice"
	cfg := dovecottest.Config{Users: append(users(alice), dovecottest.User{Name: short, Password: "secret", AliasOf: alice})}
	eachRegistrar(t, cfg, func(t *testing.T, dovecot *dovecottest.Server, r Registrar) {
		f := newFixture(t, nil, Config{Registrar: r})
		_, err := f.Register(t.Context(), alice, false)
		require.NoError(t, err)
		for range 2 {
			_, err = f.Register(t.Context(), short, false)
			require.NoError(t, err)
			require.Equal(t, "user="+alice+"\t"+mark, valueIn(t, dovecot, alice))
		}
		_, err = f.Unregister(t.Context(), short)
		require.NoError(t, err)
		require.Equal(t, "user="+alice+"\t"+mark, valueIn(t, dovecot, alice), "alice@example.com still wants it")

		_, err = f.Register(t.Context(), short, false)
		require.NoError(t, err)
		_, err = f.Unregister(t.Context(), alice)
		require.NoError(t, err)
		_, err = f.Register(t.Context(), short, false) // as the next pass does
		require.NoError(t, err)
		require.Equal(t, "user="+short+"\t"+mark, valueIn(t, dovecot, alice))
		_, err = f.Unregister(t.Context(), short)
		require.NoError(t, err)
		require.Empty(t, valueIn(t, dovecot, alice))
	})
}

// What somebody else set is kept, and an INBOX created again is registered again by
// the next pass.
func TestDrift(t *testing.T) {
	const foreign = "user=17@4\turl=x"
	eachRegistrar(t, dovecottest.Config{Users: users(alice, bob)}, func(t *testing.T, dovecot *dovecottest.Server, r Registrar) {
		require.NoError(t, dovecot.RegisterValue(bob, foreign))
		f := newFixture(t, nil, Config{Registrar: r})
		require.NoError(t, f.SetSubscribed(t.Context(), alice, true))
		require.NoError(t, f.SetSubscribed(t.Context(), bob, true))
		f.onePass(t)
		assert.Equal(t, ours(alice), valueIn(t, dovecot, alice))
		assert.Equal(t, foreign, valueIn(t, dovecot, bob))
		assert.Equal(t, Conflict, f.state(t, bob))

		_, err := dovecot.Doveadm("mailbox", "delete", "-u", alice, "INBOX")
		require.NoError(t, err)
		require.Empty(t, valueIn(t, dovecot, alice))
		f.onePass(t)
		assert.Equal(t, ours(alice), valueIn(t, dovecot, alice))
		assert.Equal(t, foreign, valueIn(t, dovecot, bob))

		_, err = f.Register(t.Context(), bob, true)
		require.NoError(t, err)
		assert.Equal(t, ours(bob), valueIn(t, dovecot, bob))
	})
}

// All users of a real Dovecot, read with masks.
func TestAllUsers(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		all := names(60)
		dovecot := dovecottest.Start(t, dovecottest.Config{Version: version, Users: users(all...), NoDebugLog: true})
		f := newFixture(t, nil, Config{
			Registrar: NewDoveAdm(newClient(t, dovecot.APIKey(), dovecot.DoveAdmURL())), Policy: All,
		})
		f.onePass(t)
		for _, user := range []string{all[0], all[17], all[59]} {
			assert.Equal(t, ours(user), valueIn(t, dovecot, user))
		}
		assert.EqualValues(t, 60, f.Status().Pass.Registered)
		_, err := dovecot.Doveadm("mailbox", "delete", "-u", all[17], "INBOX")
		require.NoError(t, err)
		require.NoError(t, dovecot.RegisterValue(all[18], "user=x"))
		f.onePass(t)
		assert.Equal(t, ours(all[17]), valueIn(t, dovecot, all[17]))
		assert.EqualValues(t, 1, f.Status().Pass.Registered)
		assert.Equal(t, map[State]int{Registered: 59, Conflict: 1}, f.Status().Pass.States)
	})
}

// A user database that cannot list is read user by user.
func TestUserDatabaseWithoutIteration(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		all := names(listFrom + 5)
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: users(all...), NoIteration: true, NoDebugLog: true,
		})
		f := newFixture(t, nil, Config{
			Registrar: NewDoveAdm(newClient(t, dovecot.APIKey(), dovecot.DoveAdmURL())), Policy: All,
		})
		for _, user := range all {
			require.NoError(t, f.SetSubscribed(t.Context(), user, true))
		}
		f.onePass(t)
		assert.EqualValues(t, len(all), f.Status().Pass.Registered)
		assert.Contains(t, f.log.String(), "Dovecot must list them")
		f.onePass(t)
		assert.Zero(t, f.Status().Pass.Registered)
	})
}

// One of two endpoints dies and comes back: nobody fails.
func TestEndpointDies(t *testing.T) {
	all := names(300)
	first := doveadmtest.Start(t, doveadmtest.Config{Users: all})
	second := doveadmtest.Start(t, doveadmtest.Config{Users: all})
	f := newFixture(t, nil, Config{
		Registrar: NewDoveAdm(newClient(t, first.APISecret(), first.URL(), second.URL())), Concurrency: 4,
	})
	for i, user := range all {
		switch i {
		case 100:
			first.Down()
		case 200:
			require.NoError(t, first.Up())
		}
		reg, err := f.Register(t.Context(), user, false)
		require.NoError(t, err)
		require.Equal(t, Registered, reg.State)
	}
}

// 10,000 users at the connector's stand-in: a pass that finds nothing to do
// takes a handful of requests.
func TestNothingToDoByDoveAdm(t *testing.T) {
	const count = 10_000
	all := names(count)
	dovecot := doveadmtest.Start(t, doveadmtest.Config{Users: all})
	for _, user := range all {
		dovecot.SetEntry(user, Entry, ours(user))
	}
	f := newFixture(t, nil, Config{Registrar: NewDoveAdm(dovecot.Client(t)), Policy: All})
	f.onePass(t)
	before := dovecot.Requests()
	assert.Zero(t, before["mailboxMetadataSet"], "what is right already is not written")
	f.onePass(t)
	requests := 0
	for command, n := range dovecot.Requests() {
		requests += n - before[command]
	}
	assert.LessOrEqual(t, requests, 1+count/groupSize)
	assert.Equal(t, map[State]int{Registered: count}, f.Status().Pass.States)
}
