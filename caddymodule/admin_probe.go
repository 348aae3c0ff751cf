// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// probeTimeout bounds a probe of everything.
const probeTimeout = 10 * time.Second

// postProbe asks everything that the app works with how it is, now, and at the
// same time.
func postProbe(a *App, r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	asks := []func(context.Context) []adminapi.Probe{a.probeQueue, a.probeGuards, a.probeDoveAdm, a.probeUsers, a.probeRegistration, a.probeContact}
	for _, where := range slices.Sorted(maps.Keys(a.imapServers())) {
		asks = append(asks, func(ctx context.Context) []adminapi.Probe { return probeIMAP(ctx, where, a.imapServers()[where]) })
	}
	for _, t := range a.targets {
		asks = append(asks,
			func(ctx context.Context) []adminapi.Probe { return probeTarget(ctx, t) },
			func(ctx context.Context) []adminapi.Probe { return probeKey(ctx, t) })
	}
	answers := make([][]adminapi.Probe, len(asks))
	var wg sync.WaitGroup
	for i, ask := range asks {
		wg.Go(func() { answers[i] = ask(ctx) })
	}
	wg.Wait()
	return slices.Concat(answers...), nil
}

func (a *App) probeQueue(context.Context) []adminapi.Probe {
	h := a.health() // which is bounded in time itself
	p := adminapi.Probe{Kind: "queue", Name: "queue", Asked: "a write to the store", Answered: "it is durable", OK: h.Ready}
	if !h.Ready {
		p.Answered = h.Error
	}
	return []adminapi.Probe{p}
}

// strangers are addresses that nobody has (RFC 5737, RFC 3849): no network
// that is allowed for good reason holds them.
var strangers = [2]netip.Addr{netip.MustParseAddr("203.0.113.77"), netip.MustParseAddr("2001:db8:77::1")}

// probeGuards lets strangers come to each endpoint.
func (a *App) probeGuards(ctx context.Context) (all []adminapi.Probe) {
	for i, g := range a.guards {
		p := adminapi.Probe{
			Kind: "guard", Name: a.endpoints[i].Path, Asked: fmt.Sprintf("requests from %s and %s", strangers[0], strangers[1]),
			Answered: "strangers stay out", OK: true,
		}
		for _, stranger := range strangers {
			vars := map[string]any{caddyhttp.ClientIPVarKey: stranger.String()}
			r := (&http.Request{RemoteAddr: netip.AddrPortFrom(stranger, 1).String()}).WithContext(context.WithValue(ctx, caddyhttp.VarsCtxKey, vars))
			if g.Judge(r) == guard.Allowed {
				p.OK, p.Answered = false, "everybody may come in"
			}
		}
		all = append(all, p)
	}
	return all
}

// probeRegistration reads the entry of a user who is registered.
func (a *App) probeRegistration(ctx context.Context) []adminapi.Probe {
	if a.registrations.Load() == nil {
		return nil
	}
	p := adminapi.Probe{Kind: "registration", Name: a.Register.Via, Asked: "the METADATA entry of a user who is registered"}
	p.Skipped, p.Answered = true, "nobody is registered yet"
	for reg, err := range a.Registrations(ctx) {
		if err != nil {
			p.Skipped, p.Answered = false, probeError(ctx, err)
			break
		}
		if reg.State != string(registration.Registered) {
			continue
		}
		switch reg, err := a.UserRegistration(ctx, reg.User); {
		case err != nil:
			p.Skipped, p.Answered = false, probeError(ctx, err)
		case reg.Error != "":
			p.Skipped, p.Answered = false, reg.Error
		case reg.Value == nil:
			p.Answered = "without a master user it can be read with the user's own login only"
		default:
			p.Skipped, p.OK, p.Answered = false, true, "it can be read"
		}
		break
	}
	return []adminapi.Probe{p}
}

// probeContact looks at the contacts that messages of targets carry with the eyes
// of their receivers.
func (a *App) probeContact(context.Context) (all []adminapi.Probe) {
	for _, m := range a.targets {
		h, ok := m.(target.ContactHolder)
		if !ok {
			continue
		}
		contact, err := h.CheckContact()
		p := adminapi.Probe{Kind: "contact", Name: m.Target().Name, Asked: "the contact " + contact, Answered: "large push services take it", OK: true}
		if err != nil {
			p.OK, p.Answered = false, err.Error()
		}
		all = append(all, p)
	}
	return all
}

func (a *App) probeDoveAdm(ctx context.Context) (all []adminapi.Probe) {
	client := a.doveadmClient()
	if client == nil {
		return nil
	}
	endpoints := client.Endpoints()
	for i, err := range client.Probe(ctx) {
		p := adminapi.Probe{
			Kind: "doveadm", Name: endpoints[i].Address, Asked: "GET of the list of commands, with the secret", Answered: "200 OK", OK: err == nil,
		}
		if err != nil {
			p.Answered, p.Reason = probeError(ctx, err), doveadm.Reason(err)
		}
		all = append(all, p)
	}
	return all
}

// probeError is err, or that there was not enough time.
func probeError(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return fmt.Sprintf("no answer within %s", probeTimeout)
	}
	return err.Error()
}

// probeUsers lists the users where all of them are to be registered.
func (a *App) probeUsers(ctx context.Context) []adminapi.Probe {
	if a.Register == nil || registration.Policy(a.Register.Users) != registration.All {
		return nil
	}
	p := adminapi.Probe{Kind: "users", Name: "user database", Asked: "the list of all users"}
	client := a.doveadmClient()
	if a.Register.Via != viaDoveAdm || client == nil {
		p.Answered, p.Reason = registration.ErrCannotList.Error()+": IMAP has no command for it", "no_iteration"
		return []adminapi.Probe{p}
	}
	users, err := client.Users(ctx, "*")
	switch {
	case err == nil:
		p.OK, p.Answered = true, fmt.Sprintf("%d users", len(users))
	case ctx.Err() != nil:
		p.Skipped, p.Answered = true, fmt.Sprintf("it takes longer than %s", probeTimeout)
	default:
		p.Answered, p.Reason = err.Error(), doveadm.Reason(err)
	}
	return []adminapi.Probe{p}
}

// imapServers are those that the app and its sites ask, by URL.
func (a *App) imapServers() map[string]*imap.Server {
	all := maps.Clone(a.logins)
	if a.IMAP != nil {
		all[a.IMAP.URL] = a.IMAP.server
	}
	return all
}

func probeIMAP(ctx context.Context, where string, server *imap.Server) []adminapi.Probe {
	p := adminapi.Probe{Kind: "imap", Name: where, Asked: "a connection, up to the greeting", Answered: "it takes logins (SASL PLAIN)", OK: true}
	if err := server.Probe(ctx); err != nil {
		p.OK, p.Answered = false, probeError(ctx, err)
	}
	return []adminapi.Probe{p}
}

func probeTarget(ctx context.Context, t target.Module) []adminapi.Probe {
	p := adminapi.Probe{Kind: "target", Name: t.Target().Name}
	prober, ok := t.(target.Prober)
	if !ok {
		p.Skipped, p.Asked, p.Answered = true, "nothing", "it can be asked with a notification only"
		return []adminapi.Probe{p}
	}
	var result target.Result
	p.Asked, result = prober.Probe(ctx)
	p.OK, p.Reason = result.Outcome == delivery.Delivered, result.Reason
	switch {
	case p.OK:
		p.Answered = "it answers"
	case result.Err != nil && !errors.Is(result.Err, context.DeadlineExceeded):
		p.Answered = result.Err.Error()
	default:
		p.Answered = probeError(ctx, errors.New(result.Reason))
	}
	return []adminapi.Probe{p}
}
