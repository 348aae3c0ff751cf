// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package owntarget has two targets as a Go module of your own would have them: one that
// delivers to several places of a user, and one that sends to another kind of devices.
package owntarget

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
)

func init() { caddy.RegisterModule(new(Pager)) }

// Pager delivers to the pagers of some users, through the HTTP gateway of their
// operator: POST <gateway>/<number>.
type Pager struct {
	// The URL of the gateway.
	Gateway string `json:"gateway"`

	// The numbers of each user, by the Dovecot login.
	Numbers map[string][]string `json:"numbers"`

	mu   sync.Mutex
	gone map[string]bool // numbers that the gateway does not know any more
}

// CaddyModule returns the Caddy module information.
func (*Pager) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: target.Namespace + ".pager", New: func() caddy.Module { return new(Pager) }}
}

// UnmarshalCaddyfile reads:
//
//	deliver pager <gateway> {
//	    <login> <numbers...>
//	}
func (p *Pager) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // pager
	if !d.AllArgs(&p.Gateway) {
		return d.ArgErr()
	}
	p.Numbers = make(map[string][]string)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		login := d.Val()
		p.Numbers[login] = append(p.Numbers[login], d.RemainingArgs()...)
	}
	return nil
}

// Provision makes what the configuration does not have.
func (p *Pager) Provision(caddy.Context) error {
	p.gone = make(map[string]bool)
	return nil
}

// Target implements target.Module.
func (p *Pager) Target() target.Target {
	return target.Target{Name: "pager", Deliverer: p, Destinations: p.destinations, Workers: 4, Timeout: 10 * time.Second}
}

// destinations are the pagers of the user of a notification. Each has attempts of its
// own: one that fails is tried again alone.
func (p *Pager) destinations(_ context.Context, r *target.Record) ([]target.Destination, error) {
	n, err := target.Decode(r)
	if err != nil { // it never will be readable
		return nil, fmt.Errorf("%w: %w", target.ErrRefused, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []target.Destination
	for _, number := range p.Numbers[n.User] {
		if !p.gone[number] {
			// They share the gateway: what says that it is down holds for all.
			all = append(all, target.Destination{Key: number, Service: "gateway"})
		}
	}
	return all, nil
}

// Deliver makes one attempt at one pager.
func (p *Pager) Deliver(ctx context.Context, r *target.Record) target.Result {
	n, err := target.Decode(r)
	if err != nil {
		return target.Result{Outcome: target.Refused, Reason: "unreadable", Err: err}
	}
	result := post(ctx, p.Gateway+"/"+r.Destination, "new mail in "+n.Folder)
	if result.Outcome == target.Gone {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.gone[r.Destination] = true // so that it is not named again
	}
	return result
}

// post sends a text, and says what the answer means.
func post(ctx context.Context, url, text string) target.Result {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(text))
	if err != nil {
		return target.Result{Outcome: target.Refused, Reason: "url", Err: err}
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return target.ResultOfFailure(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode == http.StatusGone {
		return target.Result{Outcome: target.Gone, Reason: "gone"}
	}
	return target.ResultOfStatus(resp.StatusCode, resp.Header, time.Now())
}

// Interface guards.
var (
	_ caddyfile.Unmarshaler = (*Pager)(nil)
	_ caddy.Provisioner     = (*Pager)(nil)
	_ target.Module         = (*Pager)(nil)
	_ target.Deliverer      = (*Pager)(nil)
)
