// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

const (
	// soon is how long the first probe waits while no endpoint is in service.
	soon = time.Second
	// probeTimeout is how long an endpoint may take to list its commands, for
	// which it opens nobody's mail.
	probeTimeout = 5 * time.Second
)

// judge notes what a request tells about its endpoint. One that takes no
// connection, refuses the secret or is something else leaves service. So does
// one that gave no complete answer, but only if it does not serve a probe either:
// the mail of one user can be reason enough for that. Whatever Dovecot itself
// answers says nothing against it.
func (c *Client) judge(e *endpoint, err error) {
	p := c.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.reason != nil || p.closed {
		return
	}
	switch {
	case isAny(err, ErrUnreachable, ErrBadSecret, ErrNotServed):
		c.takeOut(e, err)
	case isAny(err, ErrTimeout, ErrBroken, ErrServer, ErrUnexpected) && !e.doubted:
		e.doubted = true
		c.probes.Go(func() { c.doubt(e) })
	}
}

// takeOut takes an endpoint out of service. p.mu is held.
func (c *Client) takeOut(e *endpoint, err error) {
	p := c.pool
	e.reason, e.since = err, time.Now()
	c.cfg.Logger.Warn("a DoveAdm endpoint leaves service", "endpoint", e.address, "error", err)
	if p.noneInService() {
		for _, other := range p.endpoints {
			select {
			case other.alarm <- struct{}{}:
			default:
			}
		}
	}
	p.dispatch()
	c.probes.Go(func() { c.bringBack(e) })
}

// doubt finds out whether an endpoint in service still serves. Calls wait
// meanwhile, which is for some milliseconds where it does.
func (c *Client) doubt(e *endpoint) {
	err := c.ask(c.ctx, e, min(c.cfg.ReadTimeout, probeTimeout))
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	e.doubted = false
	if err != nil && c.ctx.Err() == nil && e.reason == nil && !c.pool.closed {
		c.takeOut(e, err)
	}
	c.pool.dispatch()
}

// bringBack probes an endpoint that is out of service until it serves.
func (c *Client) bringBack(e *endpoint) {
	for sooner := soon; ; {
		wait := c.cfg.CheckInterval
		c.pool.mu.Lock()
		if c.pool.noneInService() {
			wait = min(wait, sooner)
			sooner *= 2
		}
		c.pool.mu.Unlock()
		timer := time.NewTimer(wait - wait/10 + rand.N(wait/5+1)) //nolint:gosec // give or take a tenth
		select {
		case <-c.ctx.Done():
			timer.Stop()
			return
		case <-e.alarm: // the wait may be shorter now
			timer.Stop()
			sooner = soon
			continue
		case <-timer.C:
		}
		if c.probe(e) {
			return
		}
	}
}

// Probe asks each endpoint for the list of its commands now, whether or not it is
// in service, and returns the results in the order of [Client.Endpoints]:
// nil for one that takes the secret. It changes nothing about who is in service.
func (c *Client) Probe(ctx context.Context) []error {
	errs := make([]error, len(c.pool.endpoints))
	var wg sync.WaitGroup
	for i, e := range c.pool.endpoints {
		wg.Go(func() { errs[i] = c.ask(ctx, e, c.cfg.ReadTimeout) })
	}
	wg.Wait()
	return errs
}

// Reason is the word for what went wrong with a command, as in
// [RequestInfo.Outcome].
func Reason(err error) string { return outcome(err) }

// ask asks an endpoint for the list of its commands, which it answers with 200 if
// it takes the secret.
func (c *Client) ask(ctx context.Context, e *endpoint, timeout time.Duration) error {
	status, _, err := c.exchange(ctx, e, http.MethodGet, nil, bounds{read: timeout, answer: maxUserAnswer})
	if err != nil {
		return err
	}
	return statusError(status, nil)
}

// probe reports whether an endpoint that was out of service is in service now.
func (c *Client) probe(e *endpoint) bool {
	err := c.ask(c.ctx, e, min(c.cfg.ReadTimeout, probeTimeout))
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	switch {
	case c.ctx.Err() != nil:
		return false
	case err != nil:
		e.reason = err
		return false
	}
	out := time.Since(e.since)
	e.reason, e.since = nil, time.Now()
	select {
	case <-e.alarm:
	default:
	}
	c.cfg.Logger.Info("a DoveAdm endpoint is in service again", "endpoint", e.address, "out_for", out.Round(time.Millisecond))
	c.pool.dispatch()
	return true
}

// statusError is what an HTTP status means; nil for 200. reason is what Dovecot
// says about a status of 400.
func statusError(status int, reason []byte) error {
	switch {
	case status == http.StatusOK:
		return nil
	case status == http.StatusBadRequest:
		return fmt.Errorf("status 400, %q: %w", reason[:min(len(reason), maxReason)], ErrInvalidRequest)
	case status == http.StatusUnauthorized:
		return fmt.Errorf("status 401: %w", ErrBadSecret)
	case status >= http.StatusInternalServerError:
		return fmt.Errorf("status %d: %w", status, ErrServer)
	default:
		return fmt.Errorf("status %d: %w", status, ErrNotServed)
	}
}

func isAny(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
