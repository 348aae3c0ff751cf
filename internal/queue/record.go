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
	// redeliveries, so that a receiver can recognize a duplicate.
	ID notification.Identity
	// Mailbox is the same for notifications of one user and folder, which are
	// delivered in order. 0 means unknown.
	Mailbox notification.Mailbox
	// UID of the message in its folder; 0 if Dovecot did not know it.
	UID uint32
	// Accepted is when the notification was accepted, to the millisecond.
	Accepted time.Time
	// TraceParent is the trace the request belonged to, as in the W3C header
	// of that name; empty without one.
	TraceParent string
	// Destination is the target's destination of this attempt, such as one of a
	// user's devices. It is empty for targets with a single destination, and in
	// accepted records.
	Destination string
	// Attempts is how many attempts at one target, and there at Destination,
	// have failed; 0 in accepted records.
	Attempts int
	// Replayed is when the record was replayed as a dead letter, to the
	// millisecond, or zero.
	Replayed time.Time
	// Source is how the notification got here.
	Source notification.Source
	// Body is the request body exactly as Dovecot sent it.
	Body []byte
}

// A group is what one JetStream message holds: one or more records, written
// with one fsync.
//
//	group  = version(1) record*
//	record = id(16) mailbox(8) uid accepted text(traceparent)
//	         text(destination) attempts replayed text(source) text(body)
//	text   = length bytes
//
// Numbers without a size are uvarints; times are in Unix milliseconds.
// Version 2, which is still read, has no source; version 1, which is too, has
// records of
//
//	record = id(16) accepted text(body)
const (
	groupVersion   = 3
	recordOverhead = len(notification.Identity{}) + 8 + 8*binary.MaxVarintLen64
)

var errCorruptGroup = errors.New("stored group of notifications is damaged")

func (r *Record) maxSize() int {
	return recordOverhead + len(r.TraceParent) + len(r.Destination) + len(r.Source) + len(r.Body)
}

func appendRecord(b []byte, r *Record) []byte {
	b = append(b, r.ID[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.Mailbox))
	b = binary.AppendUvarint(b, uint64(r.UID))
	b = appendTime(b, r.Accepted)
	b = append(binary.AppendUvarint(b, uint64(len(r.TraceParent))), r.TraceParent...)
	b = append(binary.AppendUvarint(b, uint64(len(r.Destination))), r.Destination...)
	b = binary.AppendUvarint(b, uint64(max(r.Attempts, 0)))
	if r.Replayed.IsZero() {
		b = append(b, 0)
	} else {
		b = appendTime(b, r.Replayed)
	}
	b = append(binary.AppendUvarint(b, uint64(len(r.Source))), r.Source...)
	return append(binary.AppendUvarint(b, uint64(len(r.Body))), r.Body...)
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.AppendUvarint(b, uint64(max(t.UnixMilli(), 0)))
}

// parseGroup splits a stored group. The bodies point into data.
func parseGroup(data []byte) ([]Record, error) {
	if len(data) == 0 {
		return nil, fmt.Errorf("%w: empty", errCorruptGroup)
	}
	version := data[0]
	if version < 1 || version > groupVersion {
		return nil, fmt.Errorf("%w: format %d is unknown, up to %d was expected (written by another version?)",
			errCorruptGroup, version, groupVersion)
	}
	p := parser{data: data[1:]}
	var records []Record
	for len(p.data) > 0 {
		r := p.record(version)
		if p.err != nil {
			return nil, fmt.Errorf("%w: %w", errCorruptGroup, p.err)
		}
		records = append(records, r)
	}
	return records, nil
}

// parser reads one value after the other from data. After an error it returns
// zero values.
type parser struct {
	data []byte
	err  error
}

func (p *parser) record(version byte) (r Record) {
	copy(r.ID[:], p.bytes("identity", uint64(len(r.ID))))
	if version == 1 {
		r.Accepted = time.UnixMilli(int64(p.number("time of acceptance")))
		r.Body = p.text("body")
		return r
	}
	if b := p.bytes("mailbox", 8); b != nil {
		r.Mailbox = notification.Mailbox(binary.BigEndian.Uint64(b))
	}
	r.UID = uint32(p.number("UID"))
	r.Accepted = time.UnixMilli(int64(p.number("time of acceptance")))
	r.TraceParent = string(p.text("trace"))
	r.Destination = string(p.text("destination"))
	r.Attempts = int(p.number("attempts"))
	if replayed := p.number("time of replay"); replayed != 0 {
		r.Replayed = time.UnixMilli(int64(replayed))
	}
	if version > 2 {
		r.Source = notification.Source(p.text("source"))
	}
	r.Body = p.text("body")
	return r
}

func (p *parser) number(name string) uint64 {
	if p.err != nil {
		return 0
	}
	n, size := binary.Uvarint(p.data)
	if size <= 0 {
		p.err = fmt.Errorf("%s is unreadable", name)
		return 0
	}
	p.data = p.data[size:]
	return n
}

func (p *parser) text(name string) []byte { return p.bytes(name, p.number(name)) }

// bytes does not allocate, so that a size that is only claimed costs nothing.
func (p *parser) bytes(name string, size uint64) []byte {
	if p.err != nil {
		return nil
	}
	if size > uint64(len(p.data)) {
		p.err = fmt.Errorf("%s is cut short", name)
		return nil
	}
	b := p.data[:size:size]
	p.data = p.data[size:]
	return b
}
