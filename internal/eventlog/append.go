// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

const (
	// maxBatch and maxBatchBytes bound what is written at once.
	maxBatch      = 512
	maxBatchBytes = 256 << 10
	batchVersion  = 1
)

// offer is an event before it has a position.
type offer struct {
	user, kind string
	id         notification.Identity
	data       []byte
}

// pending is an offer on its way to the store.
type pending struct {
	offer
	done chan error
}

// Offer stores the event with the given identity for the streams of user, if
// there are any or were any within the history. It returns when that is done.
// data is called only if the event is stored, and returns its kind and content.
func (l *Log) Offer(ctx context.Context, user string, id notification.Identity, data func() (kind string, data []byte)) error {
	if err := l.wait(ctx, l.leasesRead); err != nil {
		return err
	}
	if l.Wants(user) {
		return l.append(ctx, offerOf(user, id, data))
	}
	if !l.cfg.Shared {
		return nil
	}
	// A stream may have been opened elsewhere, and we do not know of it yet.
	o := offerOf(user, id, data)
	l.mu.Lock()
	wanted := l.holds(user)
	if !wanted {
		l.recent.add(o)
	}
	l.mu.Unlock()
	if wanted {
		return l.append(ctx, o)
	}
	return nil
}

func offerOf(user string, id notification.Identity, data func() (string, []byte)) offer {
	o := offer{user: user, id: id}
	o.kind, o.data = data()
	return o
}

// Idle reports whether no user has a lease, so that there is nothing to offer.
func (l *Log) Idle() bool {
	select {
	case <-l.leasesRead.done:
	default:
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leased == 0 && !l.cfg.Shared
}

func (l *Log) append(ctx context.Context, o offer) error {
	p := &pending{offer: o, done: make(chan error, 1)}
	select {
	case l.appends <- p:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.ctx.Done():
		return ErrClosed
	}
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-l.ctx.Done():
		return ErrClosed
	}
}

// appendLoop writes the events that wait, all of them with one fsync.
func (l *Log) appendLoop() {
	var batch []*pending
	var buffer []byte
	for {
		select {
		case <-l.ctx.Done():
			return
		case p := <-l.appends:
			batch = append(batch[:0], p)
			buffer = appendOffer(append(buffer[:0], batchVersion), p.offer)
		}
	gather:
		for len(batch) < maxBatch && len(buffer) < maxBatchBytes {
			select {
			case p := <-l.appends:
				batch = append(batch, p)
				buffer = appendOffer(buffer, p.offer)
			default:
				break gather
			}
		}
		err := l.store.Append(l.ctx, buffer)
		for _, p := range batch {
			p.done <- err
		}
		clear(batch)
	}
}

// A batch is what one entry of the log holds.
//
//	batch = version(1) offer*
//	offer = id(16) length(uvarint) user length(uvarint) kind length(uvarint) data
var errBatch = errors.New("stored events are damaged")

func appendOffer(b []byte, o offer) []byte {
	b = append(b, o.id[:]...)
	b = binary.AppendUvarint(b, uint64(len(o.user)))
	b = append(b, o.user...)
	b = binary.AppendUvarint(b, uint64(len(o.kind)))
	b = append(b, o.kind...)
	b = binary.AppendUvarint(b, uint64(len(o.data)))
	return append(b, o.data...)
}

// decodeBatch returns what it could read before an error. The data points into
// b.
func decodeBatch(b []byte) ([]offer, error) {
	if len(b) == 0 || b[0] != batchVersion {
		return nil, fmt.Errorf("%w: unknown format", errBatch)
	}
	b = b[1:]
	var batch []offer
	for len(b) > 0 {
		var o offer
		n := copy(o.id[:], b)
		if n < len(o.id) {
			return batch, fmt.Errorf("%w: identity cut short", errBatch)
		}
		fields := [3][]byte{}
		var ok bool
		rest := b[n:]
		for i := range fields {
			if fields[i], rest, ok = cutField(rest); !ok || len(batch) > maxPlace {
				return batch, fmt.Errorf("%w: cut short", errBatch)
			}
		}
		o.user, o.kind, o.data, b = string(fields[0]), string(fields[1]), fields[2], rest
		batch = append(batch, o)
	}
	return batch, nil
}

func cutField(b []byte) (field, rest []byte, ok bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 || size > uint64(len(b)-n) {
		return nil, nil, false
	}
	b = b[n:]
	return b[:size:size], b[size:], true
}
