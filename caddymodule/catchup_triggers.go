// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/notify"
	"github.com/dovecotpush/caddy-dovecot-push/internal/catchup"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

const (
	// outageInterval is how often it is looked whether an outage is over.
	outageInterval = time.Second
	// letInInterval is how often a mail server that is let in again is news: one
	// of its two drivers may have a wrong password for good.
	letInInterval = time.Minute
	// maxRefusedUsers and maxRefusedPeers bound who is remembered.
	maxRefusedUsers = 10_000
	maxRefusedPeers = 1024
)

// outages are what kept Dovecot from reporting. When one is over, the catch-up
// looks for what was missed in it.
type outages struct {
	// any is whether there is one that a request can end; it is looked at for
	// each request.
	any atomic.Bool

	mu sync.Mutex
	// users are those whose notifications could not be stored, under the names
	// in them, and stored tells that one could be since then.
	users  map[string]struct{}
	last   time.Time // when one could not be stored
	stored bool
	// peers are those that were not let in.
	peers map[netip.Addr]struct{}
	// letIn is when one of them was let in last.
	letIn time.Time
	// down are the endpoints of DoveAdm that are out of service.
	down map[string]bool

	end  chan struct{}
	done sync.WaitGroup
}

func newOutages() *outages {
	return &outages{users: make(map[string]struct{}), peers: make(map[netip.Addr]struct{}), down: make(map[string]bool)}
}

// refused notes that a peer was not let in.
func (o *outages) refused(peer netip.Addr) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.peers) < maxRefusedPeers {
		o.peers[peer] = struct{}{}
	}
	o.any.Store(true)
}

// unstored notes that a notification could not be stored.
func (o *outages) unstored(body []byte) {
	n, err := notification.Identify(body, notification.AllEvents)
	if err != nil {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.users) < maxRefusedUsers {
		o.users[n.User] = struct{}{}
	}
	o.last, o.stored = time.Now(), false
	o.any.Store(true)
}

// accepted notes that a notification of a peer was stored, and reports whether
// the peer was not let in before.
func (o *outages) accepted(peer netip.Addr) (letIn bool) {
	if !o.any.Load() {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stored = true
	if _, refused := o.peers[peer]; refused {
		delete(o.peers, peer)
		if letIn = time.Since(o.letIn) > letInInterval; letIn {
			o.letIn = time.Now()
		}
	}
	o.any.Store(len(o.peers) > 0 || len(o.users) > 0)
	return letIn
}

// over returns the users whose notifications could not be stored, when others
// can be, or when none was refused for a moment.
func (o *outages) over() (users []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.users) == 0 || !o.stored && time.Since(o.last) < outageInterval {
		return nil
	}
	users = slices.Sorted(maps.Keys(o.users))
	clear(o.users)
	o.any.Store(len(o.peers) > 0)
	return users
}

// back reports whether an endpoint of DoveAdm came back.
func (o *outages) back(a *App) (back bool) {
	client := a.doveadmClient()
	if client == nil {
		return false
	}
	for _, e := range client.Endpoints() {
		back = back || e.InService && o.down[e.Address]
		o.down[e.Address] = !e.InService
	}
	return back
}

// watchOutages lets the catch-up look when an outage is over, until
// stopOutages.
func (a *App) watchOutages(c *catchup.Catcher) {
	o := a.outages
	o.end = make(chan struct{})
	o.done.Go(func() {
		tick := time.NewTicker(outageInterval)
		defer tick.Stop()
		for {
			select {
			case <-o.end:
				return
			case <-tick.C:
			}
			if users := o.over(); len(users) > 0 {
				c.Trigger(catchup.Writable, users...)
			}
			if o.back(a) {
				c.Trigger(catchup.Back)
			}
		}
	})
}

func (a *App) stopOutages() {
	if a.outages.end != nil {
		close(a.outages.end)
		a.outages.done.Wait()
		a.outages.end = nil
	}
}

// notified records the result of a request to the notify endpoint.
func (a *App) notified(peer netip.Addr, result notify.Result) {
	switch result {
	case notify.Accepted, notify.Duplicate:
		if c := a.catcher.Load(); a.outages.accepted(peer) && c != nil {
			c.Trigger(catchup.LetIn)
		}
	case notify.Unauthorized, notify.NoClientCertificate, notify.Throttled:
		a.outages.refused(peer)
	default: // says nothing about the peer's next notification
	}
}
