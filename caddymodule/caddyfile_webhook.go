// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
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
	return parseBlock(d, "deliver webhook",
		option{name: "secret", repeat: true, parse: func(d *caddyfile.Dispenser) error {
			var s string
			if !d.AllArgs(&s) {
				return d.ArgErr()
			}
			w.Secrets = append(w.Secrets, s)
			return nil
		}},
		pairOption("signature_header", false, func(name, secret string) { w.SignatureHeader, w.SignatureSecret = name, secret }),
		pairOption("credentials", false, func(u, p string) { w.Username, w.Password = u, p }),
		pairOption("header", true, func(name, value string) {
			if w.Headers == nil {
				w.Headers = make(http.Header)
			}
			w.Headers.Add(name, value)
		}),
		contentOption(&w.Content),
		eventsOption(&w.Events),
		listOption("users", &w.Users),
		listOption("folders", &w.Folders),
		stringOption("method", &w.Method),
		stringOption("template", &w.Template),
		stringOption("template_file", &w.TemplateFile),
		durationOption("timeout", &w.Timeout),
		stringOption("ca_file", &w.CAFile),
		pairOption("client_cert", false, func(c, k string) { w.ClientCertFile, w.ClientKeyFile = c, k }),
	)
}

// Interface guard.
var _ caddyfile.Unmarshaler = (*Webhook)(nil)
