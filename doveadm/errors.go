// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// What can go wrong. The errors of a [Client] wrap one of these, so that
// errors.Is tells them apart; their text says what to do.
var (
	// ErrUnknownUser: exit code 67.
	ErrUnknownUser = errors.New("Dovecot does not know the user: see what `doveadm user` says about the login")
	// ErrNoMetadata: exit code 65.
	ErrNoMetadata = errors.New("Dovecot has no dictionary for METADATA: set mail_attribute_dict, such as file:%h/dovecot-attributes " +
		"(Dovecot 2.4: mail_attribute { dict file { path = %{home}/dovecot-attributes } })")
	// ErrUsage: exit code 64.
	ErrUsage = errors.New("Dovecot refuses the parameters of the command: see the manual page of the doveadm command")
	// ErrNotFound: exit code 68, such as a mailbox that does not exist.
	ErrNotFound = errors.New("there is no such mailbox or object: see what `doveadm mailbox list` says")
	// ErrTemporary: exit code 75. The same call may succeed later.
	ErrTemporary = errors.New("Dovecot has a temporary failure: try again later, and see Dovecot's log for the reason")
	// ErrFailed: any other exit code.
	ErrFailed = errors.New("the command failed: see Dovecot's log for the reason")
	// ErrUnknownCommand: unknownMethod.
	ErrUnknownCommand = errors.New("Dovecot does not know the command: its release may be too old, or a plugin may be missing in the doveadm service")
	// ErrInvalidRequest: invalidRequest, or status 400.
	ErrInvalidRequest = errors.New("Dovecot does not understand the request: a parameter is not known, comes twice or is of the wrong type")
	// ErrNotAllowed: unAuthorized.
	ErrNotAllowed = errors.New("Dovecot does not allow the command: add it to doveadm_allowed_commands, with spaces, such as `mailbox metadata set`")
	// ErrBadSecret: status 401. Nothing was executed.
	ErrBadSecret = errors.New("Dovecot refuses the secret: compare api_secret with doveadm_api_key, or basic_auth with doveadm_password")
	// ErrClosed: the connection ended without an answer, which is what Dovecot
	// does when a mandatory parameter is missing, or when it is stopped.
	ErrClosed = errors.New("Dovecot closed the connection without an answer: a mandatory parameter is missing, or Dovecot was stopped; see its log")
	// ErrUnreachable: no connection was made, so that nothing was executed.
	ErrUnreachable = errors.New("no connection to Dovecot: see that the service doveadm has an inet_listener at this address, and what firewalls do")
	// ErrTimeout: no answer within the read timeout, or the connection broke.
	// The command may have been executed.
	ErrTimeout = errors.New("Dovecot did not answer in time: see its log, or raise read_timeout")
	// ErrBroken: the connection broke before the answer was complete. The
	// command may have been executed.
	ErrBroken = errors.New("the connection to Dovecot broke: see its log")
	// ErrServer: a status of 500 or above.
	ErrServer = errors.New("the server fails: see its log, and that doveadm_api_key or doveadm_password is set")
	// ErrUnexpected: an answer that the DoveAdm HTTP API does not give.
	ErrUnexpected = errors.New("this is no answer of the DoveAdm HTTP API: the URL must be that of its listener and end in /doveadm/v1")
	// ErrUnavailable: no endpoint is in service. See [UnavailableError].
	ErrUnavailable = errors.New("no endpoint is in service")
	// ErrShut: the client is closed.
	ErrShut = errors.New("the client is closed")
)

// Error is a command that failed.
type Error struct {
	// Command is the name of the command in the API, such as mailboxMetadataSet.
	Command string
	// Endpoint is host and port of the endpoint that failed.
	Endpoint string
	// Detail is what Dovecot or the network said about it: an exit code, a
	// status. It may be empty.
	Detail string
	// Err is one of the errors of this package, possibly with its cause.
	Err error
}

// Error implements error. It names no user and holds no secret.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "doveadm: %s at %s: ", e.Command, e.Endpoint)
	if e.Detail != "" {
		fmt.Fprintf(&b, "%s: ", e.Detail)
	}
	return b.String() + e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// UnavailableError tells that no endpoint is in service. It is [ErrUnavailable],
// and also each of the errors that took the endpoints out.
type UnavailableError struct {
	// Endpoints are all endpoints, with the reason why each is out.
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
		if state.Reason != nil {
			errs = append(errs, state.Reason)
		}
	}
	return errs
}
