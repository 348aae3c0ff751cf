// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVerify(t *testing.T) {
	v := verifier(t,
		plain("dovecot", "new"), plain("dovecot", "old"), // rotation
		plain("colon", "pa:ss:"),
		plain("ümläut", "pässwörd€"),
		plain("long", strings.Repeat("x", 3000)), plain("long", strings.Repeat("x", 3100)),
		bcrypted(t, "hashed", "secret"),
		argon2ided("rotated", "first"), argon2ided("rotated", "second"), bcrypted(t, "rotated", "third"),
		argon2ided("empty", ""),
		plain("both", "plain"), bcrypted(t, "both", "hashed"),
	)
	tests := []struct {
		name    string
		headers []string
		want    Verdict
		user    string
	}{
		{"none", nil, Missing, ""},
		{"empty", []string{""}, Missing, ""},
		{"other scheme", []string{"Bearer new"}, Missing, ""},
		{"other scheme that begins alike", []string{"Basically ZG92ZWNvdDpuZXc="}, Missing, ""},
		{"scheme alone", []string{"Basic"}, Wrong, ""},
		{"not base64", []string{"Basic !!!"}, Wrong, ""},
		{"no colon", []string{"Basic " + base64.StdEncoding.EncodeToString([]byte("dovecot"))}, Wrong, ""},

		{"right", []string{basicHeader("dovecot", "new")}, Accepted, "dovecot"},
		{"right, older", []string{basicHeader("dovecot", "old")}, Accepted, "dovecot"},
		{"scheme in other letters", []string{"bASIC" + basicHeader("dovecot", "new")[5:]}, Accepted, "dovecot"},
		{"colons in the password", []string{basicHeader("colon", "pa:ss:")}, Accepted, "colon"},
		{"UTF-8", []string{basicHeader("ümläut", "pässwörd€")}, Accepted, "ümläut"},
		{"just below 4 KiB", []string{basicHeader("long", strings.Repeat("x", 3000))}, Accepted, "long"},

		{"wrong password", []string{basicHeader("dovecot", "newer")}, Wrong, ""},
		{"beginning of the password", []string{basicHeader("dovecot", "ne")}, Wrong, ""},
		{"password in other letters", []string{basicHeader("dovecot", "New")}, Wrong, ""},
		{"user name in other letters", []string{basicHeader("Dovecot", "new")}, Wrong, ""},
		{"unknown user", []string{basicHeader("nobody", "new")}, Wrong, ""},
		{"somebody else's password", []string{basicHeader("dovecot", "pa:ss:")}, Wrong, ""},
		{"empty password", []string{basicHeader("dovecot", "")}, Wrong, ""},
		{"empty user name", []string{basicHeader("", "new")}, Wrong, ""},
		{"nothing but the colon", []string{basicHeader("", "")}, Wrong, ""},
		{"twice", []string{basicHeader("dovecot", "new"), basicHeader("dovecot", "new")}, Wrong, ""},
		{"twice, Basic second", []string{"Bearer x", basicHeader("dovecot", "new")}, Missing, ""},
		{"above 4 KiB", []string{basicHeader("long", strings.Repeat("x", 3100))}, Wrong, ""},

		{"hash", []string{basicHeader("hashed", "secret")}, Accepted, "hashed"},
		{"hash again", []string{basicHeader("hashed", "secret")}, Accepted, "hashed"},
		{"hash, wrong", []string{basicHeader("hashed", "Secret")}, Wrong, ""},
		{"hash, empty password", []string{basicHeader("hashed", "")}, Wrong, ""},
		{"hash of nothing", []string{basicHeader("empty", "")}, Wrong, ""},
		{"hash, moved border", []string{basicHeader("hashe", "dsecret")}, Wrong, ""},
		{"hash, user without one", []string{basicHeader("dovecot", "secret")}, Wrong, ""},
		{"hash, first of three", []string{basicHeader("rotated", "first")}, Accepted, "rotated"},
		{"hash, second of three", []string{basicHeader("rotated", "second")}, Accepted, "rotated"},
		{"hash, third of three", []string{basicHeader("rotated", "third")}, Accepted, "rotated"},
		{"hash, somebody else's", []string{basicHeader("rotated", "secret")}, Wrong, ""},
		{"both, plain", []string{basicHeader("both", "plain")}, Accepted, "both"},
		{"both, hash", []string{basicHeader("both", "hashed")}, Accepted, "both"},
		{"both, wrong", []string{basicHeader("both", "neither")}, Wrong, ""},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			// From an address of its own, so that none is throttled.
			source := home.Next()
			for range i {
				source = source.Next()
			}
			require.Equal(t, Result{Verdict: tt.want, Username: tt.user}, v.Verify(withHeader(tt.headers...), source))
		})
	}
}

func TestVerifyWithoutPairs(t *testing.T) {
	v := verifier(t)
	require.Equal(t, Wrong, v.Verify(request("u", "p"), home).Verdict)
	require.Equal(t, Missing, v.Verify(withHeader(), home).Verdict)
}

func TestNewRefuses(t *testing.T) {
	const secret = "hunter2"
	hash := bcrypted(t, "u", secret).Hash
	tests := []struct {
		name string
		pair Pair
		want string
	}{
		{"no user name", Pair{Password: []byte(secret)}, "the user name is empty"},
		{"colon", plain("u:v", secret), "a user name cannot have a colon in it (RFC 7617)"},
		{"no password", Pair{Username: "u"}, "the password is empty"},
		{"no hash", Pair{Username: "u", Comparer: bcryptHash{}}, "the password is empty"},
		{"no comparer", Pair{Username: "u", Hash: hash}, "nothing to compare the hash with"},
		{"two secrets", Pair{Username: "u", Password: []byte(secret), Hash: hash, Comparer: bcryptHash{}}, "there is both a password and a hash; only one can be"},
		{"hash cut short", Pair{Username: "u", Hash: hash[:20], Comparer: bcryptHash{}}, errUnusableHash.Error()},
		{"comparer quotes the hash", Pair{Username: "u", Hash: []byte(secret), Comparer: argon2idHash{}}, errUnusableHash.Error()},
		{"comparer panics", Pair{Username: "u", Hash: []byte("x"), Comparer: comparerFunc(func() bool { panic(secret) })}, errUnusableHash.Error()},
		{"comparer says yes to everything", Pair{Username: "u", Hash: []byte("x"), Comparer: comparerFunc(func() bool { return true })}, errUnusableHash.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := New([]Pair{plain("first", secret), tt.pair}, nil)
			require.EqualError(t, err, "credentials: pair 2: "+tt.want)
			for err := err; err != nil; err = errors.Unwrap(err) {
				require.NotContains(t, err.Error(), secret)
			}
		})
	}
}

type comparerFunc func() bool

func (f comparerFunc) Compare(_, _ []byte) (bool, error) { return f(), nil }

// What a caller does with his slices afterwards changes nothing.
func TestNewCopies(t *testing.T) {
	pairs := []Pair{plain("p", "plain"), bcrypted(t, "h", "hashed")}
	v := verifier(t, pairs...)
	clear(pairs[0].Password)
	clear(pairs[1].Hash)
	require.Equal(t, Accepted, v.Verify(request("p", "plain"), home).Verdict)
	require.Equal(t, Accepted, v.Verify(request("h", "hashed"), home).Verdict)
}

// How many hashes are computed tells nobody which user names exist.
func TestUnknownUsersCostAsMuch(t *testing.T) {
	c := &counting{Comparer: argon2idHash{}}
	pairs := []Pair{
		argon2ided("one", "1"),
		argon2ided("three", "a"), argon2ided("three", "b"), argon2ided("three", "c"),
		plain("plain", "p"),
	}
	for i := range pairs[:4] {
		pairs[i].Comparer = c
	}
	v := verifier(t, pairs...)
	for _, username := range []string{"one", "three", "plain", "nobody"} {
		c.count.Store(0)
		require.Equal(t, Wrong, v.Verify(request(username, "guess"), home).Verdict)
		require.EqualValues(t, 3, c.count.Load(), username)
	}
	// A password of another user's hash does not open the door.
	for _, username := range []string{"one", "plain", "nobody"} {
		require.Equal(t, Wrong, v.Verify(request(username, "a"), home).Verdict, username)
	}
}

func TestSuccessIsComputedOnce(t *testing.T) {
	pair := bcrypted(t, "u", "right")
	c := &counting{Comparer: pair.Comparer}
	pair.Comparer = c
	v := verifier(t, pair)
	c.count.Store(0)
	for range 5 {
		require.Equal(t, Accepted, v.Verify(request("u", "right"), home).Verdict)
	}
	require.EqualValues(t, 1, c.count.Load())
	for range 5 {
		require.Equal(t, Wrong, v.Verify(request("u", "wrong"), home).Verdict)
	}
	require.EqualValues(t, 6, c.count.Load(), "failures are not remembered")
}
