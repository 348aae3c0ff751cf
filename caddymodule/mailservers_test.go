// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// address is one of many.
func address(n uint32) netip.Addr {
	return netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, 10<<24+n)))
}

func TestMailServerIsLetInAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMailServers()
		known, late, other := address(1), address(2), address(3)
		m.accepted(known)
		assert.False(t, m.letInAgain(), "nobody was refused")

		// However many strangers are refused, before and after.
		strangers := func() {
			for n := range uint32(5 * maxMailServers) {
				m.refused(address(1000 + n))
			}
		}
		strangers()
		m.refused(known)
		strangers()
		assert.False(t, m.letInAgain(), "nobody was let in")
		m.accepted(known)
		assert.True(t, m.letInAgain())
		m.accepted(known)
		time.Sleep(2 * letInInterval)
		assert.False(t, m.letInAgain(), "it is told once")

		// So is one that was not known before, which may be one of those refused.
		m.accepted(late)
		assert.True(t, m.letInAgain())

		// What comes too soon is told later.
		m.accepted(other)
		m.refused(late)
		m.accepted(late)
		assert.False(t, m.letInAgain())
		time.Sleep(letInInterval)
		assert.True(t, m.letInAgain())
		assert.Len(t, m.known, 3, "strangers are not remembered")
	})
}

func TestMailServersAreBounded(t *testing.T) {
	m := newMailServers()
	for n := range uint32(2 * maxMailServers) {
		m.accepted(address(n))
	}
	assert.Len(t, m.known, maxMailServers)
	assert.False(t, m.letInAgain())
}

// The configuration after a reload knows those of the one before.
func TestMailServersOverReloads(t *testing.T) {
	before := useMailServers()
	after := useMailServers()
	assert.Same(t, before, after)
	assert.NoError(t, releaseMailServers())
	assert.NoError(t, releaseMailServers())
}
