// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package username decides what is a valid user name, and which name of a user
// is the canonical one.
//
// A user has one canonical name: the one that Dovecot returns for a login
// ([Names]), or the login in lower case ([Fold]) if Dovecot cannot be asked.
// Devices, registrations, streams and limits are keyed by it. IMAP gets the
// login as it was typed.
package username

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Max is how long a name may be, in bytes. Dovecot's own limit is below that,
// and a key of the store takes several names of this length.
const Max = 512

// Error is why something cannot be the name of a user. It does not hold the
// name.
type Error struct{ Problem string }

// Error implements error.
func (e *Error) Error() string { return "this cannot be the name of a user: it " + e.Problem }

// What a name can be refused for.
var (
	errEmpty   = &Error{"is empty"}
	errLong    = &Error{"is longer than 512 bytes"}
	errUTF8    = &Error{"is not valid UTF-8"}
	errControl = &Error{"has a control character"}
)

// Valid returns nil for everything that can be the name of a user, and else an
// [*Error]. Every name passes it on its way in, wherever it comes from.
func Valid(name string) error {
	switch {
	case name == "":
		return errEmpty
	case len(name) > Max:
		return errLong
	case !utf8.ValidString(name):
		return errUTF8
	case strings.ContainsFunc(name, unicode.IsControl):
		return errControl
	}
	return nil
}

// Fold returns a login in lower case as Dovecot's default auth_username_format
// does it: ASCII letters only.
func Fold(login string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, login)
}

// IsPlain reports whether a name has only characters that Dovecot takes in
// every configuration (the default of auth_username_chars).
func IsPlain(name string) bool {
	return !strings.ContainsFunc(name, func(r rune) bool {
		return r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune(".-_@", r)
	})
}

// HasWildcard reports whether DoveAdm would take a name for several users.
func HasWildcard(name string) bool { return strings.ContainsAny(name, "*?") }
