// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// Record is one accepted notification as the queue stores it.
type Record struct {
	// ID is the identity of the notification. It stays the same over all
	// redeliveries, so that a receiver can recognise a duplicate.
	ID notification.Identity
	// Accepted is when the notification was taken in, to the millisecond.
	Accepted time.Time
	// Body is the request body exactly as Dovecot sent it.
	Body []byte
	// Destination is which of a target's destinations, such as one of a
	// user's devices, this attempt is for. It is empty where a target has
	// only one. It belongs to an attempt: what Accept stores has none.
	Destination string
}

// A group is what one JetStream message holds: one or more records, written
// with one fsync.
//
//	group  = version(1) record*
//	record = id(16) accepted(uvarint, Unix milliseconds) length(uvarint) body
const (
	groupVersion   = 1
	recordOverhead = len(notification.Identity{}) + 2*binary.MaxVarintLen64
)

var errCorruptGroup = errors.New("stored group of notifications is damaged")

func (r *Record) maxSize() int { return recordOverhead + len(r.Body) }

func appendRecord(b []byte, r *Record) []byte {
	b = append(b, r.ID[:]...)
	b = binary.AppendUvarint(b, uint64(max(r.Accepted.UnixMilli(), 0)))
	b = binary.AppendUvarint(b, uint64(len(r.Body)))
	return append(b, r.Body...)
}

// parseGroup splits a stored group. The bodies point into data.
func parseGroup(data []byte) ([]Record, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: empty", errCorruptGroup)
	}
	if data[0] != groupVersion {
		return nil, fmt.Errorf("%w: format %d is unknown, %d was expected (written by another version?)",
			errCorruptGroup, data[0], groupVersion)
	}
	data = data[1:]
	var records []Record
	for len(data) > 0 {
		r, rest, err := parseRecord(data)
		if err != nil {
			return nil, err
		}
		records = append(records, r)
		data = rest
	}
	return records, nil
}

func parseRecord(data []byte) (Record, []byte, error) {
	var r Record
	n := copy(r.ID[:], data)
	if n < len(r.ID) {
		return r, nil, fmt.Errorf("%w: identity cut short", errCorruptGroup)
	}
	data = data[n:]
	millis, n := binary.Uvarint(data)
	if n <= 0 {
		return r, nil, fmt.Errorf("%w: time of acceptance unreadable", errCorruptGroup)
	}
	r.Accepted = time.UnixMilli(int64(millis))
	data = data[n:]
	size, n := binary.Uvarint(data)
	if n <= 0 || size > uint64(len(data)-n) {
		return r, nil, fmt.Errorf("%w: body cut short", errCorruptGroup)
	}
	data = data[n:]
	r.Body = data[:size:size]
	return r, data[size:], nil
}
