// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// parseAPI reads the directive. Syntax:
//
//	dovecot_push_api [<path>] {
//	    login imap [<url>] {
//	        ca_file <pem>
//	        plaintext
//	    }
//	    login caddy
//	    webmail_url  <url>
//	    name         <text>
//	    help_url     <url>
//	    password_url <url>
//	    privacy_url  <url>
//	    imprint_url  <url>
//	    theme {
//	        accent <colour>
//	        logo   <path>
//	    }
//	}
//
// There is one login.
func parseAPI(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	h.Next()
	a := new(API)
	if h.NextArg() {
		a.Path = h.Val()
		if a.Path == "*" {
			a.Path = "/*"
		}
		if !strings.HasPrefix(a.Path, "/") {
			return nil, h.Errf("%q is not a path; to use a matcher, put the directive into a handle block", a.Path)
		}
	}
	if h.NextArg() {
		return nil, h.Errf("dovecot_push_api takes one path; %q is one too many", h.Val())
	}
	err := option.Block(h.Dispenser, "dovecot_push_api",
		option.Option{Name: "login", Parse: func(d *caddyfile.Dispenser) error { return parseLogin(d, a) }},
		option.String("webmail_url", &a.WebmailURL),
		option.String("name", &a.Name),
		option.String("help_url", &a.HelpURL),
		option.String("password_url", &a.PasswordURL),
		option.String("privacy_url", &a.PrivacyURL),
		option.String("imprint_url", &a.ImprintURL),
		option.Option{Name: "theme", Parse: func(d *caddyfile.Dispenser) error { return parseTheme(d, a) }},
	)
	if err != nil {
		return nil, err
	}
	if a.Login == "" {
		return nil, h.Err("dovecot_push_api needs to know how people sign in: login imap, or login caddy after any authentication")
	}
	return route(h, a, "dovecot_push_api"), nil
}

func parseTheme(d *caddyfile.Dispenser, a *API) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	a.Theme = new(PageTheme)
	return option.Block(d, "theme",
		option.Option{Name: "accent", Parse: func(d *caddyfile.Dispenser) error {
			if !d.AllArgs(&a.Theme.Accent) {
				return d.Err("accent takes a colour in quotes, such as \"#0b6b63\": without them, # begins a comment")
			}
			return nil
		}},
		option.String("logo", &a.Theme.Logo),
	)
}

func parseLogin(d *caddyfile.Dispenser, a *API) error {
	if !d.NextArg() {
		return d.Err("login is either \"login imap\" or \"login caddy\"")
	}
	switch a.Login = d.Val(); a.Login {
	case loginCaddy:
		if d.NextArg() {
			return d.ArgErr()
		}
		return option.Block(d, "login caddy")
	case loginIMAP:
	default:
		return d.Errf("there is no login %q; there are: imap, caddy", a.Login)
	}
	if !d.NextArg() {
		return option.Block(d, "login imap without a URL")
	}
	a.IMAP = &MailLogin{URL: d.Val()}
	if d.NextArg() {
		return d.ArgErr()
	}
	return option.Block(d, "login imap",
		option.String("ca_file", &a.IMAP.CAFile),
		option.Flag("plaintext", &a.IMAP.Plaintext),
	)
}
