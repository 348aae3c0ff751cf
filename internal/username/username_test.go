// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package username

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestValid(t *testing.T) {
	for name, want := range map[string]error{
		"":                                       errEmpty,
		"tab\tname":                              errControl,
		"line\nname":                             errControl,
		"nul\x00name":                            errControl,
		"c1\u0085name":                           errControl,
		"latin\xfc1":                             errUTF8,
		strings.Repeat("y", Max+1):               errLong,
		strings.Repeat("y", Max):                 nil,
		" ":                                      nil,
		"Alice@Example.ORG":                      nil,
		"dave\"quote":                            nil,
		"-A":                                     nil,
		"*":                                      nil,
		">":                                      nil,
		"../../etc":                              nil,
		"m\u00fcller@example.org":                nil,
		"\u540d\u524d@\u4f8b\u3048.jp":           nil,
		"user.with.dots\u00a0and\u00a0no breaks": nil,
	} {
		err := Valid(name)
		if want == nil {
			assert.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, want, name)
		assert.NotContains(t, err.Error(), "name\t")
	}
}

func TestFold(t *testing.T) {
	assert.Equal(t, "alice@example.org", Fold("Alice@Example.ORG"))
	// As Dovecot does it: other letters stay as they are.
	assert.Equal(t, "mÜller İ ſ", Fold("MÜLLER İ ſ"))
}

func TestPlain(t *testing.T) {
	for name, plain := range map[string]bool{
		"alice.b-c_9@example.org": true, "carol smith": false, "a*b": false, "müller": false, "user+detail@x": false,
	} {
		assert.Equal(t, plain, IsPlain(name), name)
	}
}

// All the names that went wrong once are either refused or have a canonical name
// that is its own canonical name.
func TestNamesFromTheField(t *testing.T) {
	raw, err := os.ReadFile("testdata/names.json")
	require.NoError(t, err)
	var all []string
	require.NoError(t, json.Unmarshal(raw, &all))
	var names Names
	served := 0
	for _, login := range all {
		name, err := names.Canonical(t.Context(), login)
		if err != nil {
			require.ErrorAs(t, err, new(*Error))
			continue
		}
		served++
		again, err := names.Canonical(t.Context(), name)
		require.NoError(t, err)
		assert.Equal(t, name, again)
	}
	assert.Equal(t, len(all)-4, served, "all but the empty one, and those with a tab, a line break and NUL")
}

// Dovecot's answer decides; it is asked once in a while.
func TestCanonical(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		failure := error(nil)
		names := Names{Ask: func(_ context.Context, login string) (string, error) {
			asked++
			local, _, _ := strings.Cut(login, "@")
			return Fold(local), failure
		}}
		for range 3 {
			name, err := names.Canonical(t.Context(), "Dave@x0")
			require.NoError(t, err)
			assert.Equal(t, "dave", name)
		}
		assert.Equal(t, 1, asked)
		time.Sleep(knownFor)
		_, _ = names.Canonical(t.Context(), "Dave@x0")
		assert.Equal(t, 2, asked)

		// Where it fails the login counts, and is asked about again soon.
		for _, failure = range []error{ErrUnknown, errors.New("out of order")} {
			time.Sleep(knownFor)
			asked = 0
			for range 3 {
				name, err := names.Canonical(t.Context(), "Dave@x0")
				require.NoError(t, err)
				assert.Equal(t, "dave@x0", name)
			}
			assert.Equal(t, 1, asked)
		}
		failure = nil
		time.Sleep(guessedFor)
		name, err := names.Canonical(t.Context(), "Dave@x0")
		require.NoError(t, err)
		assert.Equal(t, "dave", name)

		// What was found out otherwise is known, wildcards included.
		names.learn("alice*boss", "alice")
		name, err = names.Canonical(t.Context(), "alice*boss")
		require.NoError(t, err)
		assert.Equal(t, "alice", name)
		asked = 0
		name, err = names.Canonical(t.Context(), "A*b")
		require.NoError(t, err)
		assert.Equal(t, "a*b", name)
		assert.Zero(t, asked, "a wildcard would mean several users")
	})
}

// A name is unknown only where Dovecot says so, for as long as it says so.
func TestUnknown(t *testing.T) {
	assert.False(t, new(Names).Unknown(t.Context(), "alice"), "nobody can be asked")
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		names := Names{Ask: func(_ context.Context, login string) (string, error) {
			asked++
			return login, nil
		}}
		for range 2 {
			assert.False(t, names.Unknown(t.Context(), "alice"))
		}
		assert.Equal(t, 1, asked)
		for failure, unknown := range map[error]bool{ErrUnknown: true, errors.New("out of order"): false} {
			time.Sleep(knownFor)
			asked = 0
			names.Ask = func(context.Context, string) (string, error) {
				asked++
				return "", failure
			}
			for range 2 {
				assert.Equal(t, unknown, names.Unknown(t.Context(), "alice"))
			}
			assert.Equal(t, 1, asked)
		}
		asked = 0
		for _, name := range []string{"", "a*b", "tab\tname"} {
			assert.False(t, names.Unknown(t.Context(), name))
		}
		assert.Zero(t, asked)
	})
}

// IMAP says whether it minds capitals, and for whom a master user signs in.
func TestIdentify(t *testing.T) {
	type server struct {
		logins  []string
		masters []string
	}
	down := errors.New("down")
	for name, test := range map[string]struct {
		server
		login   string
		dovecot func(login string) (string, error) // nil: it cannot be asked
		want    string
		unknown bool
	}{
		"lower case":        {login: "Alice", server: server{logins: []string{"Alice", "alice"}}, want: "alice"},
		"case is minded":    {login: "Alice", server: server{logins: []string{"Alice"}}, want: "Alice"},
		"no capitals":       {login: "al", want: "al"},
		"master user":       {login: "alice*boss", server: server{masters: []string{"boss"}}, want: "alice"},
		"star in the name":  {login: "alice*x", server: server{logins: []string{"alice*x"}, masters: []string{"boss"}}, want: "alice*x"},
		"Dovecot says":      {login: "al", dovecot: func(string) (string, error) { return "alice", nil }, want: "alice"},
		"Dovecot, master":   {login: "Al*boss", server: server{masters: []string{"boss"}}, dovecot: func(l string) (string, error) { return l + "ice", nil }, want: "Alice"},
		"Dovecot, unknown":  {login: "Al", dovecot: func(string) (string, error) { return "", ErrUnknown }, want: "al", unknown: true},
		"Dovecot is down":   {login: "Al", dovecot: func(string) (string, error) { return "", down }, want: "al"},
		"down, master user": {login: "Al*boss", server: server{masters: []string{"boss"}}, dovecot: func(string) (string, error) { return "", down }, want: "al"},
	} {
		t.Run(name, func(t *testing.T) {
			var names Names
			if test.dovecot != nil {
				names.Ask = func(_ context.Context, login string) (string, error) { return test.dovecot(login) }
			}
			_, _ = names.Canonical(t.Context(), test.login)                                                                   // a guess does not count
			known, err := names.Identify(t.Context(), test.login, func(_ context.Context, name, login string) (bool, error) { // login is that of a master user
				if login != "" {
					return slices.Contains(test.masters, login), nil
				}
				return slices.Contains(test.logins, name), nil
			})
			require.NoError(t, err)
			assert.Equal(t, !test.unknown, known)
			got, err := names.Canonical(t.Context(), test.login)
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
	_, err := new(Names).Identify(t.Context(), "Alice", func(context.Context, string, string) (bool, error) { return false, down })
	require.ErrorIs(t, err, down)
}

// One that hangs is waited for only so long.
func TestAskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := Names{Ask: func(ctx context.Context, _ string) (string, error) {
			<-ctx.Done()
			return "", ctx.Err()
		}}
		began := time.Now()
		name, err := names.Canonical(t.Context(), "Alice")
		require.NoError(t, err)
		assert.Equal(t, "alice", name)
		assert.Equal(t, askTimeout, time.Since(began))
	})
}

func TestMemoryIsBounded(t *testing.T) {
	var names Names
	for i := range maxKnown + 100 {
		names.learn(fmt.Sprint("user", i), "x")
	}
	assert.Len(t, names.known, maxKnown)
}
