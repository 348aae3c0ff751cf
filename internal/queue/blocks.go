// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/minio/highwayhash"
)

// A block is a file with messages of a stream, one after the other, as the
// embedded server writes it:
//
//	record = length(4) number(8) time(8) subject length(2) subject
//	         [header length(4) header] message checksum(8)
//
// Numbers are little endian. The highest bit of the length tells that there is
// a header, the two highest ones of the number that the message was erased, or
// is to be removed (a tombstone). A record that is missing between two others
// counts as removed.
const (
	recordHead     = 22
	recordSmallest = recordHead + highwayhash.Size64
	recordLargest  = 32 << 20
	subjectLongest = 4 << 10

	hasHeader = 1 << 31
	erased    = 1 << 63
	tombstone = 1 << 62
)

// compressedBlock starts blocks that somebody had the server compress.
var compressedBlock = []byte("cmp")

// block is what is in a file with messages.
type block struct {
	// records are the parts that can be read, bad those between them.
	records, bad []span
	// first and last message, and those to be removed.
	first, last uint64
	removed     map[uint64]struct{}
	// count is how many records can be read.
	count int
	// incomplete is what the last write left when it was interrupted.
	incomplete bool
}

// span is a part of a file. Numbers are those of the messages before and after
// it, 0 where there is none.
type span struct {
	from, to      int
	before, after uint64
}

// blockHash returns the checksums of one block of a stream.
func blockHash(stream string, index int) (func(parts ...[]byte) []byte, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%s-%d", stream, index))
	hash, err := highwayhash.NewDigest64(key[:])
	if err != nil {
		return nil, err
	}
	return func(parts ...[]byte) []byte {
		hash.Reset()
		for _, part := range parts {
			_, _ = hash.Write(part)
		}
		return hash.Sum(nil)
	}, nil
}

// readBlock finds the records of a block, also behind those that cannot be
// read.
func readBlock(data []byte, sum func(...[]byte) []byte) (b block) {
	b.removed = make(map[uint64]struct{})
	for at := 0; at < len(data); {
		size, number := readRecord(data[at:], sum)
		if size == 0 {
			next := at + 1
			for next < len(data) {
				if size, _ = readRecord(data[next:], sum); size > 0 {
					break
				}
				next++
			}
			b.bad = append(b.bad, span{from: at, to: next, before: b.last})
			b.incomplete = next == len(data) && interrupted(data[at:])
			at = next
			continue
		}
		if n := len(b.records); n > 0 && b.records[n-1].to == at {
			b.records[n-1].to += size
		} else {
			b.records = append(b.records, span{from: at, to: at + size})
		}
		at += size
		b.count++
		if number&tombstone != 0 {
			b.removed[number&^tombstone] = struct{}{}
			continue
		}
		number &^= erased
		if number <= b.last {
			continue
		}
		for i := len(b.bad) - 1; i >= 0 && b.bad[i].after == 0; i-- {
			b.bad[i].after = number
		}
		b.last = number
		if b.first == 0 {
			b.first = number
		}
	}
	return b
}

// readRecord returns the size of the record that data starts with, or 0 if
// there is none that can be read.
func readRecord(data []byte, sum func(...[]byte) []byte) (size int, number uint64) {
	if len(data) < recordSmallest {
		return 0, 0
	}
	length := binary.LittleEndian.Uint32(data)
	headed := length&hasHeader != 0
	length &^= hasHeader
	subject := int(binary.LittleEndian.Uint16(data[20:]))
	if length < recordSmallest || length > recordLargest || int(length) > len(data) || subject > subjectLongest {
		return 0, 0
	}
	data = data[:length]
	rest, checksum := data[recordHead:len(data)-highwayhash.Size64], data[len(data)-highwayhash.Size64:]
	if subject > len(rest) {
		return 0, 0
	}
	name, rest := rest[:subject], rest[subject:]
	for _, c := range name { // cheaper than the checksum where a search comes by
		if c <= ' ' || c >= 0x7f {
			return 0, 0
		}
	}
	if headed {
		if len(rest) < 4 {
			return 0, 0
		}
		rest = rest[4:]
	}
	if !bytes.Equal(sum(data[4:20], name, rest), checksum) {
		return 0, 0
	}
	return int(length), binary.LittleEndian.Uint64(data[4:])
}

// interrupted reports whether data is what a write leaves that did not come to
// its end: a record of which the end is missing, or zeros.
func interrupted(data []byte) bool {
	if len(data) < recordHead || bytes.HasSuffix(data, make([]byte, highwayhash.Size64)) {
		return true
	}
	length := binary.LittleEndian.Uint32(data) &^ hasHeader
	return length >= recordSmallest && length <= recordLargest && int(length) > len(data)
}

// kept is the block without what cannot be read.
func (b *block) kept(data []byte) []byte {
	kept := make([]byte, 0, len(data))
	for _, s := range b.records {
		kept = append(kept, data[s.from:s.to]...)
	}
	return kept
}
