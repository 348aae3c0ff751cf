// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// UnmarshalCaddyfile reads the block of deliver webhook. Syntax:
//
//	deliver webhook <name> <url> {
//	    secret           <placeholder>          # may repeat
//	    signature_header <name> <placeholder>
//	    credentials      <user> <placeholder>
//	    header           <name> <value>         # may repeat
//	    content          thin|sender|full
//	    events           <names...>|all
//	    users            <patterns...>          # may repeat
//	    folders          <patterns...>          # may repeat
//	    method           POST|PUT
//	    template         <text>
//	    template_file    <path>
//	    timeout          <duration>
//	    ca_file          <pem>
//	    client_cert      <pem> <key>
//	}
func (w *Webhook) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the kind of the target
	if !d.AllArgs(&w.Name, &w.URL) {
		return d.Err("deliver webhook needs a name and a URL, such as: deliver webhook chat https://hooks.example.com/mail")
	}
	return option.Block(d, "deliver webhook",
		option.Option{Name: "secret", Repeat: true, Parse: func(d *caddyfile.Dispenser) error {
			var s string
			if !d.AllArgs(&s) {
				return d.ArgErr()
			}
			w.Secrets = append(w.Secrets, s)
			return nil
		}},
		option.Pair("signature_header", false, func(name, secret string) { w.SignatureHeader, w.SignatureSecret = name, secret }),
		option.Pair("credentials", false, func(u, p string) { w.Username, w.Password = u, p }),
		option.Pair("header", true, func(name, value string) {
			if w.Headers == nil {
				w.Headers = make(http.Header)
			}
			w.Headers.Add(name, value)
		}),
		option.Content(&w.Content),
		option.Events(&w.Events),
		option.List("users", &w.Users),
		option.List("folders", &w.Folders),
		option.String("method", &w.Method),
		option.String("template", &w.Template),
		option.String("template_file", &w.TemplateFile),
		option.Duration("timeout", &w.Timeout),
		option.String("ca_file", &w.CAFile),
		option.Pair("client_cert", false, func(c, k string) { w.ClientCertFile, w.ClientKeyFile = c, k }),
	)
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Webhook)(nil)
