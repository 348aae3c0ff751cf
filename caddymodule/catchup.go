// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/internal/catchup"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// CatchUp finds new mails that Dovecot could not report, because Caddy, the
// network or a password was away at that moment, and accepts notifications of
// them. It looks at the users that are registered.
type CatchUp struct {
	// How often all registered users are looked at, give or take a tenth. They
	// are also looked at when Caddy starts, and when something that kept Dovecot
	// from reporting is over. Default: 15m.
	Interval caddy.Duration `json:"interval,omitempty"`

	// How many mails of one user are told at most at once, the newest.
	// Default: 50.
	Max int `json:"max,omitempty"`

	// Tell mails as well that were read meanwhile.
	Seen bool `json:"seen,omitempty"`

	// Tell mails as well that were not delivered, but stored, copied or moved to
	// INBOX by a mail program or by doveadm, as far as that can be told: those
	// without a Received field, and those that were saved later than their date.
	Appended bool `json:"appended,omitempty"`

	// Do not catch up.
	Off bool `json:"off,omitempty"`
}

// provision checks the settings.
func (c *CatchUp) provision() error {
	if c.Interval < 0 || c.Max < 0 {
		return errors.New("catch_up: interval and max cannot be negative")
	}
	return nil
}

// errNoCatchUp tells why nothing is caught up.
var (
	errCatchUpOff     = errors.New("there is no catch-up: it is off in the configuration")
	errCatchUpNoWay   = errors.New("there is no catch-up: users are not registered from here")
	errCatchUpNeedsIn = errors.New("there is no catch-up: without a master user, the mailboxes of users cannot be looked at over IMAP")
)

// catchUpSource is how mailboxes are read; the error tells why they are not.
func (a *App) catchUpSource() (catchup.Source, error) {
	switch {
	case a.CatchUp != nil && a.CatchUp.Off:
		return nil, errCatchUpOff
	case a.Register == nil || a.Register.Via == "":
		return nil, errCatchUpNoWay
	case a.Register.Via == viaDoveAdm:
		return catchup.NewDoveAdm(a.doveadmClient()), nil
	case a.IMAP.master.Name == "":
		return nil, errCatchUpNeedsIn
	default:
		return catchup.NewIMAP(registration.NewIMAP(a.IMAP.server, a.IMAP.master)), nil
	}
}

// startCatchUp begins to catch up, if there is a way to.
func (a *App) startCatchUp(q *queue.Queue) error {
	source, err := a.catchUpSource()
	if err != nil {
		a.catchUpErr = err
		return nil
	}
	settings := a.CatchUp
	if settings == nil {
		settings = new(CatchUp)
	}
	r := a.registrations.Load()
	c, err := catchup.New(catchup.Config{
		Queue: q, Alone: a.Queue.NATS == nil, Source: source, Users: r.AllNotified, Find: r.FindNotified, List: r.List, Decoder: target.Decoder,
		Interval: time.Duration(settings.Interval), Max: settings.Max, MaxAge: time.Duration(a.Queue.MaxAge),
		Seen: settings.Seen, Appended: settings.Appended,
		Logger: a.slog.With("part", "catch-up"), Observe: catchUpObserver{},
	})
	if err != nil {
		return err
	}
	c.Start()
	a.catcher.Store(c)
	a.watchOutages(c)
	return nil
}

func (a *App) stopCatchUp() {
	a.stopOutages()
	if c := a.catcher.Load(); c != nil {
		c.Stop()
	}
}

// catchUp waits for the app to have started.
func (a *App) catchUp(ctx context.Context) (*catchup.Catcher, error) {
	select {
	case <-a.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if c := a.catcher.Load(); c != nil {
		return c, nil
	}
	return nil, a.catchUpErr
}

// catchUpRegistered lets a user who came to be registered be looked at, so that
// what comes from then on is not missed.
func (a *App) catchUpRegistered(e registration.Event) {
	if c := a.catcher.Load(); c != nil && e.State == registration.Registered && e.User != "" {
		c.Trigger(catchup.Registered, e.User)
	}
}
