// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import "errors"

// Reason is why something failed, in a word out of a bounded set.
type Reason string

// The reasons.
const (
	ReasonUnknownUser Reason = "unknown_user"
	ReasonName        Reason = "bad_name"
	ReasonNoMetadata  Reason = "no_metadata"
	ReasonCredentials Reason = "credentials"
	ReasonNeedsLogin  Reason = "needs_login"
	ReasonNoValue     Reason = "no_value"
	ReasonForeign     Reason = "foreign_value"
	ReasonStore       Reason = "store"
	ReasonTemporary   Reason = "temporary"
	// ReasonCannotList is not one of a user: with the policy All, others than
	// those that subscribe or are named are not registered.
	ReasonCannotList Reason = "cannot_list"
)

// scope is whom the result of an attempt concerns.
type scope uint8

const (
	// ofUser: only this user. However many of them follow each other, they
	// never keep others from being registered.
	ofUser scope = iota
	// ofServer: Dovecot, which could not be asked. After a few in a row, going
	// on with other users is pointless.
	ofServer
	// ofAll: all users, for whom Dovecot would answer the same.
	ofAll
	// ofStore: the table, and not Dovecot.
	ofStore
)

// class classifies the result of an attempt.
type class struct {
	err    error
	reason Reason
	scope  scope
	// asked reports whether Dovecot answered something, which shows that it can
	// be asked.
	asked bool
	// retry reports whether another attempt follows without being asked for.
	retry bool
}

// classes are all results but success. The first match counts.
var classes = []class{
	{ErrConflict, ReasonForeign, ofUser, true, false},
	{ErrUnknownUser, ReasonUnknownUser, ofUser, true, false},
	{ErrName, ReasonName, ofUser, false, false},
	{errNoValue, ReasonNoValue, ofUser, false, false},
	{ErrNeedsLogin, ReasonNeedsLogin, ofUser, false, false},
	{ErrMail, ReasonTemporary, ofUser, false, true},
	{ErrNoMetadata, ReasonNoMetadata, ofAll, false, true},
	{ErrCredentials, ReasonCredentials, ofAll, false, true},
	{errStore, ReasonStore, ofStore, false, true},
	{ErrTemporary, ReasonTemporary, ofServer, false, true},
}

// classOf classifies the result of an attempt. Errors not in the table concern
// the user alone.
func classOf(err error) class {
	if err == nil {
		return class{asked: true}
	}
	for _, c := range classes {
		if errors.Is(err, c.err) {
			return c
		}
	}
	return class{err: err, reason: ReasonTemporary, retry: true}
}

// ReasonOf returns why something failed, in a word, and whether it concerns more
// than one user. It is empty without an error.
func ReasonOf(err error) (reason Reason, all bool) {
	c := classOf(err)
	return c.reason, c.scope != ofUser
}
