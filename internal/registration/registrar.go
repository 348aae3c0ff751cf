// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
)

// Entry is the server METADATA entry (RFC 5464) that Dovecot's
// push_notification plugin looks for.
const Entry = "/private/vendor/vendor.dovecot/http-notify"

// Registrar reads and changes the entries of users. Its methods are called by
// many goroutines at once. Their errors wrap one of those below, and name no
// user.
type Registrar interface {
	// Get returns the value of the user's entry; it is empty if there is none.
	Get(ctx context.Context, user string) (string, error)
	// Set sets the user's entry.
	Set(ctx context.Context, user, value string) error
	// Unset removes the user's entry. It is not an error if there is none.
	Unset(ctx context.Context, user string) error
	// List returns the logins of all users, or ErrCannotList.
	List(ctx context.Context) ([]string, error)
	// Values returns the values of all users whose login matches the mask (*
	// matches anything), empty for users without an entry, or ErrCannotList.
	Values(ctx context.Context, mask string) (map[string]string, error)
}

// Errors of a Registrar.
var (
	// ErrName means that nobody can be registered under this name, such as one
	// with a wildcard over DoveAdm.
	ErrName = errors.New("the user cannot be registered under this name")
	// ErrUnknownUser means that Dovecot does not know the user.
	ErrUnknownUser = errors.New("the user is not known to Dovecot")
	// ErrNoMetadata means that METADATA is not enabled in Dovecot.
	ErrNoMetadata = errors.New("METADATA is not enabled in Dovecot. Add to its configuration, in 2.3: " +
		"mail_attribute_dict = file:%h/dovecot-attributes; in 2.4: mail_attribute { dict file { path = %{home}/dovecot-attributes } }. " +
		"To register over IMAP it also needs: protocol imap { imap_metadata = yes }")
	// ErrCredentials means that Dovecot does not accept the secret, the
	// password of the master user, or the command.
	ErrCredentials = errors.New("the credentials are not accepted by Dovecot")
	// ErrNeedsLogin means that only the user's own login would do, which is not
	// known now.
	ErrNeedsLogin = errors.New("without a master user, users are registered when they sign in")
	// ErrCannotList means that users cannot be listed.
	ErrCannotList = errors.New("the users cannot be listed")
	// ErrMail means that Dovecot fails for this user, which says nothing about
	// others. A later attempt may succeed.
	ErrMail = errors.New("the user's mail cannot be opened right now, see Dovecot's log")
	// ErrTemporary means that Dovecot cannot be reached. A later attempt may
	// succeed.
	ErrTemporary = errors.New("no answer from Dovecot right now")
)

// ErrConflict means that something else has set the value of an entry.
var ErrConflict = errors.New("the METADATA entry has a value that something else set; it is left as it is, and takeover would overwrite it")

// errNoValue means that the template has no value for a user.
var errNoValue = errors.New("there is no METADATA value for the user")

// errStore means that the table cannot be read or written.
var errStore = errors.New("the store of the registrations fails")
