// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/actions"
	"github.com/dovecotpush/caddy-dovecot-push/internal/action"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// Where mails go if nobody said otherwise.
const (
	defaultArchiveMailbox = "Archive"
	defaultTrashMailbox   = "Trash"
)

// Actions are what people can do with a mail from its notification, in browsers that
// show buttons there. It is done over the doveadm or the imap block that users are
// registered with, which needs a master user for it.
type Actions struct {
	// The actions, in the order in which they are shown: `read` marks the mail as
	// read, `archive` and `trash` move it. Some browsers show the first two only.
	Offer []action.Action `json:"offer"`

	// The mailbox that `archive` moves mails to. Default: Archive
	ArchiveMailbox string `json:"archive_mailbox,omitempty"`

	// The mailbox that `trash` moves mails to. Default: Trash
	TrashMailbox string `json:"trash_mailbox,omitempty"`

	mailboxes action.Mailboxes
	key       *sharedKey
}

// validate checks the settings and sets the defaults.
func (o *Actions) validate() error {
	if len(o.Offer) == 0 {
		return errors.New("actions: name those that are offered, such as: actions archive read trash")
	}
	for i, a := range o.Offer {
		if !slices.Contains(action.Offered, a) {
			return fmt.Errorf("actions: there are read, archive and trash, not %q", a)
		}
		if slices.Contains(o.Offer[:i], a) {
			return fmt.Errorf("actions: %s is named twice", a)
		}
	}
	for _, mailbox := range []struct {
		option  string
		name    *string
		of      action.Action
		without string
	}{
		{"archive_mailbox", &o.ArchiveMailbox, action.Archive, defaultArchiveMailbox},
		{"trash_mailbox", &o.TrashMailbox, action.Trash, defaultTrashMailbox},
	} {
		if *mailbox.name == "" {
			*mailbox.name = mailbox.without
		} else if !slices.Contains(o.Offer, mailbox.of) {
			return fmt.Errorf("actions: %s is of no use without the action %s", mailbox.option, mailbox.of)
		}
		if err := action.CheckMailbox(*mailbox.name); err != nil {
			return fmt.Errorf("actions: %s: %w", mailbox.option, err)
		}
	}
	return nil
}

// provisionActions finds out how they are done. It comes after the registration.
func (a *App) provisionActions(ctx caddy.Context) error {
	if a.Actions == nil {
		return nil
	}
	if err := a.Actions.validate(); err != nil {
		return err
	}
	switch {
	case a.Register != nil && a.Register.Via == viaDoveAdm:
		a.Actions.mailboxes = action.NewDoveAdm(a.doveadmClient())
	case a.Register != nil && a.Register.Via == viaIMAP && a.IMAP.master.Name != "":
		a.Actions.mailboxes = action.NewIMAP(registration.NewIMAP(a.IMAP.server, a.IMAP.master))
	default:
		return errors.New("actions: mails of users cannot be reached without their passwords: add a doveadm block, or a master_user to the imap block")
	}
	a.Actions.key = newActionKey(ctx.Storage())
	return nil
}

// newActions is nil where none are offered.
func (a *App) newActions(q *queue.Queue, d *devices) *action.Actions {
	o := a.Actions
	if o == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), sharedKeyTimeout)
	defer cancel()
	if _, err := o.key.get(ctx); err != nil {
		// Mail is delivered without them, until the key can be read.
		a.log.Error("notifications offer no actions before their key can be read", zap.Error(err))
	}
	return action.New(action.Config{
		Key: o.key.get, Mailboxes: o.mailboxes, Used: q.Table("actions"), Devices: d.store,
		Offer: o.Offer, ArchiveMailbox: o.ArchiveMailbox, TrashMailbox: o.TrashMailbox,
	})
}

// actionsHandler serves what devices ask for; nil where nothing is offered.
func (a *App) actionsHandler() http.Handler {
	if a.Actions == nil || a.devices == nil {
		return nil
	}
	return actions.New(actions.Config{
		Desk: func(ctx context.Context) (actions.Desk, error) {
			if err := a.devices.wait(ctx); err != nil {
				return nil, err
			}
			return a.devices.actions, nil
		},
		Source: sourceOf, Logger: a.slog.With("part", "actions"), Observe: observeAction,
	})
}
