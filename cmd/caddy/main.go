// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Command caddy is the Caddy web server with its standard modules and the
// dovecot_push modules of this repository: what "make build" puts into
// bin/caddy and what "xcaddy build --with …" would produce.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
	_ "github.com/dovecotpush/caddy-dovecot-push"
)

func main() {
	caddycmd.Main()
}
