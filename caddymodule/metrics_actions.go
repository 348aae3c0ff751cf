// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/actions"
	"github.com/dovecotpush/caddy-dovecot-push/internal/action"
)

var actionRequests = counter("actions_total",
	"What people chose on notifications, by action and result.", "action", "result")

func observeAction(a action.Action, r actions.Result) {
	actionRequests.WithLabelValues(string(cmp.Or(a, "unknown")), string(r)).Inc()
}
