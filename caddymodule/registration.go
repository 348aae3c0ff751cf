// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// Register tells for which users Dovecot is made to notify, by a METADATA entry
// of each, and how.
type Register struct {
	// Who is registered: `on_subscribe`, users with a device that wants push;
	// `all`, everybody in Dovecot's user database, which must be able to list
	// its users; or `off`, only users whom an operator registers by hand.
	// Default: on_subscribe.
	Users string `json:"users,omitempty"`

	// How entries are set: `doveadm`, by the DoveAdm HTTP API, or `imap`, by
	// SETMETADATA. Default: the one that is configured, or doveadm if both are.
	Via string `json:"via,omitempty"`

	// The value of the entries: key=value, separated by tabs. Dovecot needs the
	// key user, and reports its value as the user if the driver has
	// user_from_metadata. Placeholders: `{user}` is the Dovecot login,
	// `{user.local}` and `{user.domain}` are the parts before and after its
	// last @, `{lookup}` is the value in the lookup file. A field by=… is
	// added, which marks our entries. Default: user={user}
	Value string `json:"value,omitempty"`

	// A text file with a line for each user: the Dovecot login, a blank, and
	// the value of {lookup}, such as Open-Xchange's <id>@<context>. It is read
	// again when it has changed.
	LookupFile string `json:"lookup_file,omitempty"`

	// How often all users are checked: an INBOX that is deleted and created
	// again loses its entry. Default: 1h.
	Interval caddy.Duration `json:"interval,omitempty"`

	// How long a user stays registered after the last device is gone. Default:
	// 24h.
	Grace caddy.Duration `json:"grace,omitempty"`

	// How many requests are made concurrently. Default: 16.
	Concurrency int `json:"concurrency,omitempty"`

	// How many users may be read or changed one by one per second. 0, the
	// default, means no limit.
	Rate int `json:"rate,omitempty"`

	// Overwrite entries that something else has set, such as Open-Xchange.
	// Without it they are not changed, but reported as conflicts.
	Takeover bool `json:"takeover,omitempty"`

	template *registration.Template
}

const (
	viaDoveAdm = "doveadm"
	viaIMAP    = "imap"
)

// provision checks the settings and sets the defaults.
func (r *Register) provision() error {
	switch registration.Policy(r.Users) {
	case "":
		r.Users = string(registration.OnSubscribe)
	case registration.OnSubscribe, registration.All, registration.Off:
	default:
		return fmt.Errorf("users is on_subscribe, all or off, not %q", r.Users)
	}
	if r.Interval < 0 || r.Grace < 0 || r.Concurrency < 0 || r.Rate < 0 {
		return errors.New("interval, grace, concurrency and rate cannot be negative")
	}
	if r.Grace == 0 {
		r.Grace = caddy.Duration(registration.DefaultGrace)
	}
	var lookup *registration.Lookup
	if r.LookupFile != "" {
		path, err := option.Replace(r.LookupFile)
		if err != nil {
			return fmt.Errorf("lookup_file: %w", err)
		}
		if lookup, err = registration.NewLookup(path); err != nil {
			return err
		}
	}
	if r.Value == "" {
		r.Value = "user={user}"
	}
	var err error
	r.template, err = registration.NewTemplate(r.Value, lookup)
	return err
}

// provisionRegistration finds out how users are registered, if they are.
func (a *App) provisionRegistration() error {
	if a.IMAP != nil {
		if err := a.IMAP.provision(); err != nil {
			return fmt.Errorf("imap: %w", err)
		}
	}
	configured := a.IMAP != nil || a.doveadmClient() != nil
	if a.Register == nil {
		if !configured {
			return nil
		}
		a.Register = new(Register)
	}
	if err := a.Register.provision(); err != nil {
		return fmt.Errorf("register: %w", err)
	}
	switch via := a.Register.Via; {
	case via == "" && a.doveadmClient() != nil:
		a.Register.Via = viaDoveAdm
	case via == "" && a.IMAP != nil:
		a.Register.Via = viaIMAP
	case via == "" && registration.Policy(a.Register.Users) == registration.Off:
	case via == "":
		return errors.New("register needs a way to Dovecot: add a doveadm or an imap block")
	case via != viaDoveAdm && via != viaIMAP:
		return fmt.Errorf("register: via is doveadm or imap, not %q", via)
	case via == viaDoveAdm && a.doveadmClient() == nil, via == viaIMAP && a.IMAP == nil:
		return fmt.Errorf("register: via %s needs a %s block", via, via)
	}
	return nil
}

// startRegistration begins to register users, if there is a way to.
func (a *App) startRegistration(q *queue.Queue) error {
	if a.Register == nil || a.Register.Via == "" {
		return nil
	}
	cfg := registration.Config{
		Table: q.Table("registrations"), Exclusive: a.Queue.NATS == nil,
		Canonical: a.names.Canonical, Policy: registration.Policy(a.Register.Users), Value: a.Register.template,
		Interval: time.Duration(a.Register.Interval), Grace: time.Duration(a.Register.Grace),
		Concurrency: a.Register.Concurrency, Rate: a.Register.Rate, Takeover: a.Register.Takeover,
		Logger: a.slog.With("part", "registration"), Observe: a.observeRegistration,
	}
	if a.knowsSubscribers() {
		cfg.Subscribers = func(ctx context.Context) ([]string, error) { return a.subscribers(ctx, q) }
	}
	if a.Register.Via == viaIMAP {
		cfg.Registrar = registration.NewIMAP(a.IMAP.server, a.IMAP.master)
	} else {
		cfg.Registrar = registration.NewDoveAdm(a.doveadmClient())
	}
	reconciler, err := registration.New(cfg)
	if err != nil {
		return err
	}
	reconciler.Start()
	a.registrations.Store(reconciler)
	return nil
}

func (a *App) stopRegistration() {
	if r := a.registrations.Load(); r != nil {
		r.Stop()
	}
}

// errNoRegistration tells that there is nothing to register users with.
var errNoRegistration = errors.New("users cannot be registered: the app dovecot_push has neither a doveadm nor an imap block")

// reconciler waits for the app to have started.
func (a *App) reconciler(ctx context.Context) (*registration.Reconciler, error) {
	select {
	case <-a.opened:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r := a.registrations.Load(); r != nil {
		return r, nil
	}
	return nil, errNoRegistration
}

// signedIn is called when a user has signed in with the mail login. Without a
// master user, that is when users are registered.
func (a *App) signedIn(ctx context.Context, login, password string) {
	r := a.registrations.Load()
	if r == nil {
		return
	}
	user, err := a.names.Canonical(ctx, login)
	if err == nil {
		err = r.SignedIn(ctx, user, login, password)
	}
	if err != nil {
		a.log.Warn("a user who signed in is not registered", zap.Error(err))
	}
}
