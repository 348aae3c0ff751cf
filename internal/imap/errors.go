// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package imap

import (
	"context"
	"errors"
	"fmt"

	goimap "github.com/emersion/go-imap/v2"
)

// What a call fails with.
var (
	// ErrCredentials means that the login is wrong: of the user, or of the
	// master user if there is one. A user that does not exist is not told
	// apart from a wrong password.
	ErrCredentials = errors.New("IMAP server refused the login")
	// ErrNoSuchUser means that the master user is who it says, but may not sign
	// in for the user, as a rule because there is none.
	ErrNoSuchUser = errors.New("IMAP server knows no such user")
	// ErrNoMetadata means that the server has no METADATA for this user.
	ErrNoMetadata = errors.New("IMAP server has no METADATA (RFC 5464)")
	// ErrMail means that the server took the login, and then failed with what
	// it was asked. Dovecot 2.3 ends the connection when it cannot open the
	// user's mail.
	ErrMail = errors.New("IMAP server fails with the user's mail")
	// ErrAccount means that the server answers, but can neither take nor refuse
	// the login of this user right now.
	ErrAccount = errors.New("IMAP server cannot check the login right now")
	// ErrUnavailable means that the server cannot be asked right now: it takes
	// no connection, or says nothing that IMAP has, before anybody signs in.
	ErrUnavailable = errors.New("IMAP server is not available")
)

// loginError classifies the result of an authentication by its response code
// (RFC 5530). The text is left out, since it may name the user.
func loginError(ctx context.Context, err error) error {
	var answer *goimap.Error
	if !errors.As(err, &answer) {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return fmt.Errorf("%w: %w", ErrAccount, err)
	}
	kind := ErrAccount
	switch answer.Code {
	case goimap.ResponseCodeAuthenticationFailed, goimap.ResponseCodeExpired, goimap.ResponseCodeNoPerm:
		kind = ErrCredentials
	case goimap.ResponseCodeAuthorizationFailed:
		kind = ErrNoSuchUser
	case "":
		// Servers without response codes say NO to a wrong password.
		if answer.Type == goimap.StatusResponseTypeNo {
			kind = ErrCredentials
		}
		return kind
	default:
	}
	return fmt.Errorf("%w [%s]", kind, answer.Code)
}

// mailError classifies the result of a command that reads mail.
func mailError(ctx context.Context, command string, err error) error {
	var answer *goimap.Error
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %w", command, ErrMail, ctx.Err())
	case errors.As(err, &answer): // whose text may name the user
		return fmt.Errorf("%s: %w [%s]", command, ErrMail, answer.Code)
	default:
		return fmt.Errorf("%s: %w: %w", command, ErrMail, err)
	}
}

// metadataError classifies the result of a command.
func metadataError(ctx context.Context, command string, err error) error {
	var answer *goimap.Error
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w: %w", command, ErrMail, ctx.Err())
	case !errors.As(err, &answer):
		return fmt.Errorf("%s: %w: %w", command, ErrMail, err)
	case answer.Code == goimap.ResponseCodeCannot, answer.Type == goimap.StatusResponseTypeBad:
		// "NO [CANNOT] Mailbox attributes not enabled" without a dict.
		return fmt.Errorf("%s: %w", command, ErrNoMetadata)
	default:
		return fmt.Errorf("%s: %w [%s]", command, ErrMail, answer.Code)
	}
}

// connectionError is for what was no answer of the server. When ctx ends it
// closes the connection, and that is not what should be reported.
func connectionError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
