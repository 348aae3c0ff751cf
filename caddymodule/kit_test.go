// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule/target/apns"
	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule/target/fcm"
	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule/target/middleware"
	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule/target/webhook"
	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule/target/webpush"
)
