// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/internal/action"
)

// parseActions reads what people can do from a notification. Syntax:
//
//	actions <read|archive|trash...> {
//	    archive_mailbox <name>
//	    trash_mailbox   <name>
//	}
func parseActions(d *caddyfile.Dispenser) (*Actions, error) {
	o := new(Actions)
	for _, name := range d.RemainingArgs() {
		o.Offer = append(o.Offer, action.Action(name))
	}
	err := option.Block(d, "actions",
		option.String("archive_mailbox", &o.ArchiveMailbox),
		option.String("trash_mailbox", &o.TrashMailbox),
	)
	if err != nil {
		return nil, err
	}
	checked := *o // the JSON has no defaults
	if err := checked.validate(); err != nil {
		return nil, d.WrapErr(err)
	}
	return o, nil
}
