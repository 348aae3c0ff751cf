// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/notify"
	"github.com/dovecotpush/caddy-dovecot-push/internal/catchup"
	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

const (
	// outageInterval is how often it is looked whether an outage is over.
	outageInterval = time.Second
	// maxIMAPPause is the longest time until an IMAP server that does not answer is
	// asked again.
	maxIMAPPause = 5 * time.Second
	// maxRefusedUsers bounds how many users are remembered.
	maxRefusedUsers = 10_000
)

// outages are what kept Dovecot from reporting. When one is over, the catch-up
// looks for what was missed in it.
type outages struct {
	*mailServers

	mu sync.Mutex
	// users are those whose notifications could not be stored, under the names
	// in them, and stored tells that one could be since then.
	users  map[string]struct{}
	last   time.Time // when one could not be stored
	stored bool
	// down are the endpoints of DoveAdm that are out of service.
	down map[string]bool

	end  context.CancelFunc
	done sync.WaitGroup
}

func newOutages(m *mailServers) *outages {
	return &outages{mailServers: m, users: make(map[string]struct{}), down: make(map[string]bool)}
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
}

// accepted notes that a notification of a peer was stored.
func (o *outages) accepted(peer netip.Addr) {
	o.mailServers.accepted(peer)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stored = true
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
	ctx, end := context.WithCancel(context.Background())
	o.end = end
	o.done.Go(func() {
		tick := time.NewTicker(outageInterval)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if users := o.over(); len(users) > 0 {
				c.Trigger(catchup.Writable, users...)
			}
			if o.letInAgain() {
				c.Trigger(catchup.LetIn)
			}
			if o.back(a) {
				c.Trigger(catchup.Back)
			}
		}
	})
	if a.Register.Via == viaIMAP {
		o.done.Go(func() { watchIMAP(ctx, a.IMAP.server, func() { c.Trigger(catchup.Back) }) })
	}
}

// watchIMAP calls back when a server answers again that did not, until ctx ends.
func watchIMAP(ctx context.Context, server *imap.Server, back func()) {
	wait, down := outageInterval, false
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if !server.Answers() {
			down, wait = true, min(2*wait, maxIMAPPause)
			_ = server.Probe(ctx) // Answers has the result
		}
		if server.Answers() && down {
			down, wait = false, outageInterval
			back()
		}
	}
}

func (a *App) stopOutages() {
	if a.outages.end != nil {
		a.outages.end()
		a.outages.done.Wait()
		a.outages.end = nil
	}
}

// notified records the result of a request to the notify endpoint.
func (a *App) notified(peer netip.Addr, result notify.Result) {
	switch result {
	case notify.Accepted, notify.Duplicate:
		a.outages.accepted(peer)
	case notify.Unauthorized, notify.NoClientCertificate, notify.Throttled:
		a.outages.refused(peer)
	default: // says nothing about the peer's next notification
	}
}
