// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Command caddy is Caddy with this project's modules and the example; xcaddy
// makes the same of two --with flags.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/dovecotpush/caddy-dovecot-push"
	_ "github.com/dovecotpush/caddy-dovecot-push/examples/provisioning"
)

func main() { caddycmd.Main() }
