// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"errors"
	"fmt"
)

// ErrUnusedEvent is the error for a well-formed body whose event is missing or
// none of those in use. That is not a mistake: the caller answers with success,
// and counts it.
var ErrUnusedEvent = errors.New("notification: the event is not one in use")

// SyntaxError is the error for a body that is not one JSON object (RFC 8259).
type SyntaxError struct {
	// Offset is the number of bytes before the mistake.
	Offset int

	// Problem describes the mistake. It holds nothing of the body.
	Problem string
}

// Error describes the mistake and its place, and holds nothing of the body.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("notification: not a JSON object: at byte %d: %s", e.Offset, e.Problem)
}

// FieldError is the error for a required member of the body that is missing or
// invalid.
type FieldError struct {
	// Field is the name of the member as Dovecot writes it, like "imap-uid".
	Field string

	// Problem continues a sentence that begins with the name: "is missing",
	// "must be …". It holds nothing of the body.
	Problem string
}

// Error names the member and what is expected of it, never its value.
func (e *FieldError) Error() string {
	return "notification: " + e.Field + " " + e.Problem
}
