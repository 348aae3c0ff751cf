// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// Comparer reports whether a password is the one a hash was made of, in a time
// that does not depend on how much of it is right. An error means that hash is
// not one of its kind. The modules in Caddy's namespace
// http.authentication.hashes, bcrypt and argon2id, are Comparers.
type Comparer interface {
	Compare(hashed, plaintext []byte) (bool, error)
}

// Pair is a user name with its password, or with the hash of its password.
// Several pairs may have the same user name. It does not show its secret when
// it is printed, logged or encoded.
type Pair struct {
	// Username is not empty and, as HTTP Basic separates the two by it, has
	// no colon.
	Username string
	// Password is the password itself, if Hash and Comparer are not set.
	Password []byte
	// Hash is what Comparer compares passwords with.
	Hash     []byte
	Comparer Comparer
}

func (p *Pair) validate() error {
	plain, hashed := len(p.Password) > 0, len(p.Hash) > 0
	switch {
	case p.Username == "":
		return errors.New("the user name is empty")
	case strings.Contains(p.Username, ":"):
		return errors.New("a user name cannot have a colon in it (RFC 7617)")
	case !plain && !hashed:
		return errors.New("the password is empty")
	case plain && hashed:
		return errors.New("there is both a password and a hash; only one can be")
	case hashed && p.Comparer == nil:
		return errors.New("nothing to compare the hash with")
	case hashed:
		return p.probe()
	}
	return nil
}

var errUnusableHash = errors.New("the hash cannot be used; was it cut short, or a $ in it replaced by a shell?")

// probe compares the hash with a password that nobody has. A hash that was cut
// short makes a comparer fail or panic, or say yes to everything; the error
// must not be passed on, because it may quote the hash.
func (p *Pair) probe() (err error) {
	defer func() {
		if recover() != nil {
			err = errUnusableHash
		}
	}()
	same, err := p.Comparer.Compare(p.Hash, []byte(rand.Text()))
	if same || err != nil {
		return errUnusableHash
	}
	return nil
}

// String names the user and hides the rest.
func (p Pair) String() string { return "credentials of " + p.Username }

// Format writes what String returns, whatever the verb.
func (p Pair) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, p.String()) }

// LogValue implements [slog.LogValuer] with what String returns.
func (p Pair) LogValue() slog.Value { return slog.StringValue(p.String()) }

// MarshalText implements [encoding.TextMarshaler], and so what encoding/json
// does, with what String returns.
func (p Pair) MarshalText() ([]byte, error) { return []byte(p.String()), nil }
