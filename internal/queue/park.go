// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// The headers of parked and buried records.
const (
	headerAttempts = "Dovecot-Push-Attempts"
	headerDue      = "Dovecot-Push-Due"
	headerReason   = "Dovecot-Push-Reason"
	headerSince    = "Dovecot-Push-Since"
)

// Parked are records that wait together for their next attempt at one target.
type Parked struct {
	Records []Record
	// Attempts is how many attempts have failed so far.
	Attempts int
	// Due is when the next one may be made, to the millisecond.
	Due time.Time
	// Reason is why the last one failed: one of a bounded set of words.
	Reason string
	// Since is when a dead letter was replayed; zero in all others.
	Since time.Time
}

// Park stores p for a later attempt at target. When it returns without an
// error the records are durable, and the groups they came in may be settled.
// After an error some of them may have been stored.
func (q *Queue) Park(ctx context.Context, target string, p Parked) error {
	header := nats.Header{
		headerAttempts: {strconv.Itoa(p.Attempts)},
		headerDue:      {strconv.FormatInt(p.Due.UnixMilli(), 10)},
		headerReason:   {p.Reason},
	}
	if !p.Since.IsZero() {
		header.Set(headerSince, strconv.FormatInt(p.Since.UnixMilli(), 10))
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
func parseParked(msg jetstream.Msg) (p Parked, err error) {
	if p.Records, err = parseGroup(msg.Data()); err != nil {
		return p, err
	}
	p.Reason = msg.Headers().Get(headerReason)
	if p.Attempts, err = strconv.Atoi(msg.Headers().Get(headerAttempts)); err != nil {
		return p, fmt.Errorf("%w: attempts: %w", errCorruptGroup, err)
	}
	if p.Due, err = parseTime(msg.Headers().Get(headerDue)); err != nil {
		return p, fmt.Errorf("%w: due time: %w", errCorruptGroup, err)
	}
	if since := msg.Headers().Get(headerSince); since != "" {
		if p.Since, err = parseTime(since); err != nil {
			return p, fmt.Errorf("%w: time of replay: %w", errCorruptGroup, err)
		}
	}
	return p, nil
}

func parseTime(s string) (time.Time, error) {
	millis, err := strconv.ParseInt(s, 10, 64)
	return time.UnixMilli(millis), err
}
