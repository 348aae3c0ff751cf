// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/netip"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
)

const (
	// letInInterval is how often a mail server that is let in again is news: one
	// of its two drivers may have a wrong password for good.
	letInInterval = time.Minute
	// maxMailServers bounds how many mail servers are remembered.
	maxMailServers = 1024
)

// mailServers are the peers whose notifications were accepted. They are known over
// reloads.
//
// Of those that were never accepted no address is kept, but only that there was
// one: anyone on the network can be refused, from any number of addresses, and must
// not push a mail server out. So the first notification of a peer counts as that
// of one that was refused before, if anyone unknown was. That is one sweep more
// for a new mail server, and strangers cannot bring it about.
type mailServers struct {
	mu sync.Mutex
	// known tells of each whether it was refused since it was accepted last.
	known map[netip.Addr]bool
	// stranger tells that somebody else was refused.
	stranger bool
	// letIn tells that one was accepted that had been refused, and told is when
	// that was last told.
	letIn bool
	told  time.Time
}

// mailServersOfAll has those of this process under mailServersKey.
var mailServersOfAll = caddy.NewUsagePool()

const mailServersKey = "mail servers"

// Destruct implements caddy.Destructor.
func (*mailServers) Destruct() error { return nil }

func newMailServers() *mailServers { return &mailServers{known: make(map[netip.Addr]bool)} }

// useMailServers returns those that the configuration before knew. It must be
// followed by a releaseMailServers.
func useMailServers() *mailServers {
	m, _ := mailServersOfAll.LoadOrStore(mailServersKey, newMailServers())
	return m.(*mailServers)
}

func releaseMailServers() error {
	_, err := mailServersOfAll.Delete(mailServersKey)
	return err
}

// refused notes that a peer was not let in.
func (m *mailServers) refused(peer netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.known[peer]; known {
		m.known[peer] = true
	} else {
		m.stranger = true
	}
}

// accepted notes that a notification of a peer was accepted.
func (m *mailServers) accepted(peer netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	refused, known := m.known[peer]
	switch {
	case known && !refused:
		return
	case !known:
		refused = m.stranger
		for other := range m.known {
			if len(m.known) < maxMailServers {
				break
			}
			delete(m.known, other)
		}
	}
	m.known[peer] = false
	m.letIn = m.letIn || refused
}

// letInAgain reports whether a mail server was let in again. What comes too soon
// after it was told last is told later.
func (m *mailServers) letInAgain() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.letIn || time.Since(m.told) < letInInterval {
		return false
	}
	m.letIn, m.told = false, time.Now()
	return true
}
