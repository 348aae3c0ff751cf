// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bytes"
	"cmp"
	"strconv"
)

// lossCount counts the messages of a stream that are missing.
type lossCount struct {
	// dense is whether messages are removed from the beginning of the stream
	// only: a number that is missing between two others is then lost.
	dense          bool
	floor          uint64              // up to here everybody had them
	removed        map[uint64]struct{} // and so nobody needs them
	gaps           []gap
	records, bytes int
}

// gap is something that cannot be read.
type gap struct {
	before, after uint64 // the messages around it; 0 if there is none
	size          int
	notifications uint64 // in its first message, as far as that can be read
}

// add adds a block that comes after the message with the number last.
func (c *lossCount) add(b *block, data []byte, last uint64) {
	for number := range b.removed {
		c.removed[number] = struct{}{}
	}
	c.records += b.count
	for _, s := range b.records {
		c.bytes += s.to - s.from
	}
	if b.first > 0 { // of gaps at the end of blocks before
		for n := len(c.gaps) - 1; n >= 0 && c.gaps[n].after == 0; n-- {
			c.gaps[n].after = b.first
		}
	}
	for _, s := range b.bad {
		c.gaps = append(c.gaps, gap{max(s.before, last), s.after, s.to - s.from, countOf(data[s.from:s.to])})
	}
}

// lost counts the messages, and the notifications in them: one for each where
// more is not known. last is the last message that can be read, end the last
// one that is known to have been there.
func (c *lossCount) lost(last, end uint64) (messages, notifications uint64) {
	size := recordHead << 4
	if c.records > 0 {
		size = c.bytes / c.records
	}
	for n, g := range c.gaps {
		room := uint64(max(1, (g.size+size/2)/size))
		if c.dense && g.before > 0 && g.after > 0 {
			if n > 0 && c.gaps[n-1].before == g.before && c.gaps[n-1].after == g.after {
				continue // between the same two, in the block before
			}
			room = g.after - g.before
		}
		if g.after == 0 && n == len(c.gaps)-1 {
			if end <= last { // nobody knows
				messages, notifications = messages+room, notifications+room-1+g.notifications
			}
			continue // counted below
		}
		if missing := c.missing(g.before, g.after, room); missing > 0 {
			messages, notifications = messages+missing, notifications+missing-1+g.notifications
		}
	}
	if end > last {
		missing := c.missing(last, end+1, end-last)
		messages, notifications = messages+missing, notifications+missing
	}
	return messages, notifications
}

// missing counts those between two numbers that somebody still has to get.
func (c *lossCount) missing(before, after, most uint64) (missing uint64) {
	for number := max(before, c.floor) + 1; number < after && missing < most; number++ {
		if _, gone := c.removed[number]; !gone {
			missing++
		}
	}
	return missing
}

// countOf is the number of notifications that the subject of a record says, as
// far as it can be read.
func countOf(record []byte) uint64 {
	if len(record) <= recordHead {
		return 1
	}
	subject := record[recordHead:]
	subject = subject[:min(len(subject), int(record[20])|int(record[21])<<8)]
	dot := bytes.LastIndexByte(subject, '.')
	n, err := strconv.ParseUint(string(subject[dot+1:]), 10, 16)
	if err != nil || n > maxGroupRecords {
		return 1
	}
	return cmp.Or(n, 1)
}
