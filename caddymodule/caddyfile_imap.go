// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// parseIMAP reads the IMAP server. Syntax:
//
//	imap <url> {
//	    master_user <name> <password>
//	    ca_file     <pem>
//	    plaintext
//	}
func parseIMAP(d *caddyfile.Dispenser) (*IMAP, error) {
	i := new(IMAP)
	if !d.AllArgs(&i.URL) {
		return nil, d.Err("imap needs the URL of the IMAP server, such as imaps://imap.example.com")
	}
	return i, option.Block(d, "imap",
		option.Pair("master_user", false, func(u, p string) { i.MasterUser, i.MasterPassword = u, p }),
		option.String("ca_file", &i.CAFile),
		option.Flag("plaintext", &i.Plaintext),
	)
}
