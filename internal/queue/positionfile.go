// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/minio/highwayhash"
)

var errPosition = errors.New("the position is damaged")

// readPosition checks the file with the position of a consumer, which has no
// checksum, and returns the number up to which everything is acknowledged, and
// the last one that was delivered.
//
//	position = 22 2 floor* delivered* pending redelivered
//	floor*, delivered* = number in the consumer, number in the stream
//	pending = count [time (number-floor number-floor age)*]
//	redelivered = count (number-floor times)*
//
// All but the first two bytes are varints, the time and the ages signed. An
// empty file is one of a consumer that has not begun.
func readPosition(data []byte) (floor, last uint64, err error) {
	if len(data) == 0 {
		return 0, 0, nil
	}
	if len(data) < 2 || data[0] != 22 || data[1] != 2 {
		return 0, 0, errPosition
	}
	p := parser{data: data[2:]}
	floorHere := p.number("floor")
	floor = p.number("floor")
	lastHere := p.number("delivered")
	last = p.number("delivered")
	if p.err != nil || floor > last || floorHere > lastHere || last >= tombstone || lastHere >= tombstone {
		return 0, 0, errPosition
	}
	pending := p.number("pending")
	// The server takes memory for as many as there are said to be; without any,
	// what was delivered is acknowledged.
	if pending > uint64(len(p.data)) || pending == 0 && floor != last {
		return 0, 0, errPosition
	}
	if pending > 0 {
		p.signed()
	}
	for range pending {
		number := p.number("pending")
		p.number("pending")
		p.signed()
		if p.err != nil || number == 0 || number > last-floor {
			return 0, 0, errPosition
		}
	}
	redelivered := p.number("redelivered")
	if redelivered > uint64(len(p.data)) {
		return 0, 0, errPosition
	}
	for range redelivered {
		p.number("redelivered")
		p.number("times")
	}
	// One without either is written with room to spare.
	for _, b := range p.data {
		if b != 0 {
			return 0, 0, errPosition
		}
	}
	if p.err != nil {
		return 0, 0, errPosition
	}
	return floor, last, nil
}

func (p *parser) signed() {
	if p.err != nil {
		return
	}
	_, size := binary.Varint(p.data)
	if size <= 0 {
		p.err = errPosition
		return
	}
	p.data = p.data[size:]
}

// readIndex returns the number of the last message that the index of a stream
// knows of, or 0 if it cannot be read: the server makes it again.
func readIndex(data []byte, stream string) (last uint64) {
	content := len(data) - highwayhash.Size64
	if content < 2 {
		return 0
	}
	key := sha256.Sum256([]byte(stream))
	hash, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return 0
	}
	_, _ = hash.Write(data[:content])
	if !bytes.Equal(hash.Sum(nil), data[content:]) {
		return 0
	}
	p := parser{data: data[2:content]}
	p.number("messages")
	p.number("bytes")
	p.number("first")
	p.signed()
	last = p.number("last")
	if p.err != nil {
		return 0
	}
	return last
}
