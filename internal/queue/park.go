// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

// The headers of parked records and dead letters.
const (
	headerDue      = "Dovecot-Push-Due"
	headerReason   = "Dovecot-Push-Reason"
	headerWaitsFor = "Dovecot-Push-Waits-For"
	headerParked   = "Dovecot-Push-Parked"
)

// Parked are records that wait together for their next attempt at one target.
type Parked struct {
	Records []Record
	// Due is when the next one may be made, to the millisecond.
	Due time.Time
	// Reason is why the last one failed: one of a bounded set of words.
	Reason string
	// WaitsFor names what was down when the records were parked, and At is
	// when that was, to the millisecond. Once it works again they need not
	// wait until Due. Empty: they wait for their time alone.
	WaitsFor string
	At       time.Time
}

// Park stores p for a later attempt at target. When it returns without an error
// the records are durable, and the groups they came in may be acknowledged.
// After an error some of them may have been stored.
func (q *Queue) Park(ctx context.Context, target string, p Parked) error {
	header := nats.Header{
		headerDue:    {strconv.FormatInt(p.Due.UnixMilli(), 10)},
		headerReason: {p.Reason},
	}
	if p.WaitsFor != "" {
		header.Set(headerWaitsFor, p.WaitsFor)
		header.Set(headerParked, strconv.FormatInt(p.At.UnixMilli(), 10))
	}
	limit := min(maxGroupBytes, q.maxRecord())
	for records := p.Records; len(records) > 0; {
		group, n := []byte{groupVersion}, 0
		for n < len(records) && (n == 0 || len(group)+records[n].maxSize() <= limit) {
			group = appendRecord(group, &records[n])
			n++
		}
		subject := q.names.park + "." + target + "." + strconv.Itoa(n)
		if err := q.publish(ctx, q.names.parkedStream, &nats.Msg{Subject: subject, Header: header, Data: group}); err != nil {
			return err
		}
		records = records[n:]
	}
	return nil
}

// parseParked reads what Park stores.
func parseParked(msg *nats.Msg) (p Parked, err error) {
	if p.Records, err = parseGroup(msg.Data); err != nil {
		return p, err
	}
	p.Reason = msg.Header.Get(headerReason)
	due, err := strconv.ParseInt(msg.Header.Get(headerDue), 10, 64)
	if err != nil {
		return p, fmt.Errorf("%w: due time: %w", errCorruptGroup, err)
	}
	p.Due = time.UnixMilli(due)
	if p.WaitsFor = msg.Header.Get(headerWaitsFor); p.WaitsFor == "" {
		return p, nil
	}
	at, err := strconv.ParseInt(msg.Header.Get(headerParked), 10, 64)
	if err != nil {
		return p, fmt.Errorf("%w: time of parking: %w", errCorruptGroup, err)
	}
	p.At = time.UnixMilli(at)
	return p, nil
}
