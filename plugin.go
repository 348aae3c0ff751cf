// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package dovecotpush makes the dovecot_push modules known to Caddy: import
// it for its side effects, or name it to xcaddy:
//
//	xcaddy build --with github.com/dovecotpush/caddy-dovecot-push
//
// The modules themselves are in the package caddymodule.
package dovecotpush

import (
	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule"
	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule/command"
	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule/target/apns"
	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule/target/fcm"
	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule/target/middleware"
	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule/target/webhook"
	_ "github.com/dovecotpush/caddy-dovecot-push/caddymodule/target/webpush"
)
