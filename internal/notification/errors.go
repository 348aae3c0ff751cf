// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"errors"
	"fmt"
)

// ErrUnusedEvent is the error for a well-formed body whose event is missing or
// none of those in use. It is nobody's fault: the caller answers as if
// all were well, and counts it.
var ErrUnusedEvent = errors.New("notification: the event is not one in use")

// SyntaxError is the error for a body that is not one JSON object (RFC 8259).
type SyntaxError struct {
	// Offset is the number of bytes before the one that is wrong.
	Offset int

	// Problem is what is wrong there. It holds nothing of the body.
	Problem string
}

// Error says what is wrong and where, and holds nothing of the body.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("notification: not a JSON object: at byte %d: %s", e.Offset, e.Problem)
}

// FieldError is the error for a member of the body that is needed and missing,
// or whose value cannot be right.
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
