// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// What can go wrong with a command. The errors of a [Client] wrap one of these,
// and their text says what to do about it.
var (
	// ErrUnknownUser is exit code 67.
	ErrUnknownUser error = &failure{"unknown_user", "no such user: see what `doveadm user` says about the login"}
	// ErrNoMetadata is exit code 65.
	ErrNoMetadata error = &failure{"no_metadata", "METADATA has no dictionary: set mail_attribute_dict in Dovecot's configuration, " +
		"such as file:%h/dovecot-attributes (Dovecot 2.4: mail_attribute { dict file { path = %{home}/dovecot-attributes } })"}
	// ErrNoIteration is exit code 65 where users are listed.
	ErrNoIteration error = &failure{"no_iteration", "users cannot be listed: give Dovecot a userdb that can iterate (iterate_query, iterate_filter, passwd-file)"}
	// ErrUsage is exit code 64. It is also what parameters get that would make
	// Dovecot do something else than was meant; these are not sent.
	ErrUsage error = &failure{"usage", "the parameters make no sense together: see the manual page of the doveadm command"}
	// ErrNotFound is exit code 68: a mailbox that does not exist, for example.
	ErrNotFound error = &failure{"not_found", "no such mailbox: see what `doveadm mailbox list` says"}
	// ErrTemporary is exit code 75. The same call may succeed later.
	ErrTemporary error = &failure{"temporary", "temporary failure in Dovecot: see its log, and try again later"}
	// ErrFailed is any other exit code.
	ErrFailed error = &failure{"failed", "the command failed: see Dovecot's log"}
	// ErrUnknownCommand is unknownMethod.
	ErrUnknownCommand error = &failure{"unknown_command", "unknown command: Dovecot may be too old for it, or the doveadm service lacks a plugin"}
	// ErrInvalidRequest is invalidRequest, and status 400.
	ErrInvalidRequest error = &failure{"invalid_request", "invalid request: a parameter is unknown, comes twice or has the wrong type"}
	// ErrNotAllowed is unAuthorized.
	ErrNotAllowed error = &failure{"not_allowed", "the command is not allowed: add it to doveadm_allowed_commands, written with blanks as in `mailbox metadata set`"}
	// ErrBadSecret is status 401. Nothing was executed.
	ErrBadSecret error = &failure{"bad_secret", "the secret is refused: it must be Dovecot's doveadm_api_key, or its doveadm_password with the user name doveadm"}
	// ErrNoAnswer is a connection that ended without an answer. Dovecot reacts
	// so to a mandatory parameter that is missing, and a value it cannot use at
	// all.
	ErrNoAnswer error = &failure{"closed", "closed without an answer: a mandatory parameter is missing or has an impossible value, " +
		"Dovecot cannot open the user's mail, or it was stopped; see its log"}
	// ErrUnreachable is a connection that was not made. Nothing was executed.
	ErrUnreachable error = &failure{"unreachable", "no connection: see that Dovecot runs and its service doveadm has an inet_listener there, and what firewalls do"}
	// ErrTimeout is no answer within the read timeout. The command may have
	// been executed.
	ErrTimeout error = &failure{"timeout", "no answer in time: see Dovecot's log for what holds it up"}
	// ErrBroken is a connection that broke before the answer was complete. The
	// command may have been executed.
	ErrBroken error = &failure{"broken", "the connection broke: see Dovecot's log, and that of what is in between"}
	// ErrServer is a status of 500 and above. The command may have been executed.
	ErrServer error = &failure{"server_error", "the server has a failure: see its log, and that Dovecot has a doveadm_api_key or doveadm_password"}
	// ErrNotServed is any other status: nobody takes commands at this URL.
	ErrNotServed error = &failure{"not_served", "nobody takes commands at this URL: it must be that of Dovecot's DoveAdm listener, and end in /doveadm/v1"}
	// ErrUnexpected is an answer that is not one of the DoveAdm HTTP API, or is
	// too long.
	ErrUnexpected error = &failure{"unexpected", "not an answer of the DoveAdm HTTP API: see what is at this URL"}
)

// What can go wrong before a command gets anywhere.
var (
	// ErrUnavailable tells that no endpoint is in service. It comes in an
	// [UnavailableError].
	ErrUnavailable = errors.New("no endpoint is in service")
	// ErrClientClosed tells that [Client.Close] was called before.
	ErrClientClosed = errors.New("the client is closed")
)

// failure is what can go wrong with a command, with the word that stands for it
// in a [RequestInfo].
type failure struct{ word, text string }

func (f *failure) Error() string { return f.text }

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	if f, ok := errors.AsType[*failure](err); ok {
		return f.word
	}
	return "canceled"
}

// Error is a command that failed.
type Error struct {
	// Command is the name of the command, such as mailboxMetadataSet.
	Command string
	// Endpoint is host and port of the endpoint that failed. It is empty if
	// the command was not sent.
	Endpoint string
	// Err wraps one of the errors of this package.
	Err error
}

// Error implements error. It holds no secret and no parameter of the command.
func (e *Error) Error() string {
	if e.Endpoint == "" {
		return fmt.Sprintf("doveadm: %s: %v", e.Command, e.Err)
	}
	return fmt.Sprintf("doveadm: %s at %s: %v", e.Command, e.Endpoint, e.Err)
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// UnavailableError tells that no endpoint is in service. It is [ErrUnavailable]
// to errors.Is, and each of the errors that took an endpoint out.
type UnavailableError struct {
	// Endpoints are all endpoints, each with the reason why it is out.
	Endpoints []EndpointState
}

// Error names each endpoint and why it is out of service.
func (e *UnavailableError) Error() string {
	var b strings.Builder
	b.WriteString("doveadm: " + ErrUnavailable.Error())
	for _, state := range e.Endpoints {
		fmt.Fprintf(&b, "; %s, out for %s: %v", state.Address, time.Since(state.Since).Round(time.Second), state.Reason)
	}
	return b.String()
}

// Unwrap returns ErrUnavailable and the reasons.
func (e *UnavailableError) Unwrap() []error {
	errs := []error{ErrUnavailable}
	for _, state := range e.Endpoints {
		errs = append(errs, state.Reason)
	}
	return errs
}
