// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"strconv"

	"github.com/dovecotpush/caddy-dovecot-push/internal/eventlog"
)

// The parts of a stream. A comment is a line that begins with a colon; an id
// without data moves the position of the client, and is no event.

// appendStart begins a stream at the position id.
func appendStart(b []byte, start eventlog.Start, id string) []byte {
	b = append(b, "retry: "...)
	b = strconv.AppendInt(b, spread(retryAfter).Milliseconds(), 10)
	b = append(b, "\n\n"...)
	if start == eventlog.Reset {
		b = appendEvent(b, id, "reset", []byte(`{"@type":"Reset"}`))
	}
	return b
}

// appendEvent appends an event. Data has no line breaks: it is JSON.
func appendEvent(b []byte, id, kind string, data []byte) []byte {
	b = append(b, "id: "...)
	b = append(b, id...)
	b = append(b, "\nevent: "...)
	b = append(b, kind...)
	b = append(b, "\ndata: "...)
	b = append(b, data...)
	return append(b, "\n\n"...)
}

func appendPosition(b []byte, id string) []byte {
	b = append(b, ":\nid: "...)
	b = append(b, id...)
	return append(b, "\n\n"...)
}
