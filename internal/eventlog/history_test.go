// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// One user with very many events takes no more memory than the history may,
// though most of them are dropped long before their hour is over.
func TestHistoryOfOneBusyUser(t *testing.T) {
	l := &Log{topics: make(map[string]*topic), timing: quick}
	h, now := &l.history, time.Now()
	const most = maxBytes / orderOverhead
	for i := range most + most/4 {
		var id notification.Identity
		binary.BigEndian.PutUint64(id[:], uint64(i))
		h.head = position(uint64(i), 0)
		l.add(l.topic(alice), &Event{Data: []byte("{}"), position: h.head, identity: id}, now)
		if i%1000 == 0 {
			l.evict(now)
		}
	}
	l.evict(now)
	assert.LessOrEqual(t, len(h.order)-h.first, most)
	assert.LessOrEqual(t, h.bytes, maxBytes)
	assert.Len(t, l.topic(alice).events, maxEvents)

	l.evict(now.Add(2 * l.timing.history))
	assert.Empty(t, l.topic(alice).events)
	assert.Zero(t, h.bytes)
	assert.Equal(t, len(h.order), h.first)
}
