// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"bytes"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// bcryptHash and argon2idHash compare as the Caddy modules of these names do.
type bcryptHash struct{}

func (bcryptHash) Compare(hashed, plaintext []byte) (bool, error) {
	err := bcrypt.CompareHashAndPassword(hashed, plaintext)
	if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
		return false, nil
	}
	return err == nil, err
}

// argon2idHash has cheap parameters, and a hash that is the salt, a colon and
// the key.
type argon2idHash struct{}

func (argon2idHash) key(salt, plaintext []byte) []byte {
	return argon2.IDKey(plaintext, salt, 1, 64, 1, 32)
}

func (a argon2idHash) Compare(hashed, plaintext []byte) (bool, error) {
	salt, key, ok := bytes.Cut(hashed, []byte(":"))
	if !ok {
		return false, errors.New("not an argon2id hash: " + string(hashed))
	}
	return subtle.ConstantTimeCompare(key, a.key(salt, plaintext)) == 1, nil
}

// counting counts the comparisons, and lets a test look into one.
type counting struct {
	Comparer
	count  atomic.Int64
	before func()
}

func (c *counting) Compare(hashed, plaintext []byte) (bool, error) {
	if c.before != nil {
		c.before()
	}
	c.count.Add(1)
	return c.Comparer.Compare(hashed, plaintext)
}

// spare returns b with room behind it, as slices often have.
func spare(b []byte) []byte { return append(make([]byte, 0, len(b)+64), b...) }

func plain(username, password string) Pair {
	return Pair{Username: username, Password: []byte(password)}
}

func bcrypted(tb testing.TB, username, password string) Pair {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	require.NoError(tb, err)
	return Pair{Username: username, Hash: spare(hash), Comparer: bcryptHash{}}
}

func argon2ided(username, password string) Pair {
	hash := append([]byte("salt-of-"+username+":"), argon2idHash{}.key([]byte("salt-of-"+username), []byte(password))...)
	return Pair{Username: username, Hash: spare(hash), Comparer: argon2idHash{}}
}

func verifier(tb testing.TB, pairs ...Pair) *Verifier {
	v, err := New(pairs, nil)
	require.NoError(tb, err)
	return v
}

// withHeader returns a request with these Authorization headers.
func withHeader(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPut, "/", nil)
	for _, h := range headers {
		r.Header.Add("Authorization", h)
	}
	return r
}

func basicHeader(username, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password))
}

func request(username, password string) *http.Request {
	return withHeader(basicHeader(username, password))
}

var home = netip.MustParseAddr("192.0.2.1")
