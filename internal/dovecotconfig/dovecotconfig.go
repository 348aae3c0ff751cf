// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package dovecotconfig writes the configuration with which Dovecot reports new
// mail to the notify endpoint and lets users be registered. The result is for
// /etc/dovecot/conf.d/99-push.conf, in the syntax of Dovecot 2.2, 2.3 or 2.4.
package dovecotconfig

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"text/template"
)

// Version is a line of Dovecot releases with one configuration syntax.
type Version string

// The lines of releases.
const (
	V22 Version = "2.2"
	V23 Version = "2.3"
	V24 Version = "2.4"
)

// Secret stands where the password of the endpoint was not given. No key of
// DoveAdm is ever made up: a key opens the mail of everybody.
const Secret = "SECRET"

// Settings say what Dovecot is to do.
type Settings struct {
	Version Version
	// URL of the notify endpoint, with user name and password in it. Without a
	// password, [Secret] takes its place.
	URL *url.URL
	// CAFile is where Dovecot finds the certification authority of the
	// endpoint, for an https URL.
	CAFile string
	// ClientCert and ClientKey are the files of a client certificate to show.
	// Both or none.
	ClientCert, ClientKey string
	// UserFromMetadata reports what the METADATA entry says in place of the
	// login, which Open-Xchange needs (user=<id>@<context>).
	UserFromMetadata bool

	// DoveAdm is where its HTTP API listens, host:port, for the registration
	// of users. Empty: not at all.
	DoveAdm string
	// DoveAdmKey is the secret of that API, which must be given with DoveAdm.
	DoveAdmKey string
	// AllUsers permits to list the users as well, for "register all".
	AllUsers bool
	// Actions permits to mark and to move mails as well, for the option actions.
	Actions bool

	// IMAPFrom are the networks from which users may be registered over IMAP
	// METADATA. Empty: not at all.
	IMAPFrom []netip.Prefix
}

var (
	//go:embed dovecot-2.3.conf.tmpl
	text23 string
	//go:embed dovecot-2.4.conf.tmpl
	text24 string
)

// Write writes the configuration. It fails with an error for the operator
// where Dovecot would not do what the settings say.
func Write(w io.Writer, s Settings) error {
	if err := s.validate(); err != nil {
		return err
	}
	v := view{Settings: s}
	if s.DoveAdm != "" {
		v.DoveAdmHost, v.DoveAdmPort, _ = net.SplitHostPort(s.DoveAdm)
		v.Commands = []string{"mailbox metadata set", "mailbox metadata get", "mailbox metadata unset", "mailbox metadata list", "mailbox status", "fetch"}
		if s.Actions {
			v.Commands = append(v.Commands, "flags add", "flags remove", "move")
		}
		if s.AllUsers {
			v.Commands = append(v.Commands, "user")
		}
	}
	text := text23
	if s.Version == V24 {
		text = text24
	}
	functions := template.FuncMap{"quote": quote, "join": strings.Join}
	return template.Must(template.New("dovecot.conf").Funcs(functions).Parse(text)).Execute(w, v)
}

func (s *Settings) validate() error {
	switch s.Version {
	case V22, V23, V24:
	default:
		return fmt.Errorf("there is no configuration for Dovecot %q; there is for: 2.2, 2.3, 2.4", s.Version)
	}
	if s.URL == nil || s.URL.Host == "" || s.URL.Scheme != "http" && s.URL.Scheme != "https" {
		return errors.New("the URL of the endpoint must be http:// or https:// with a host")
	}
	if s.URL.Fragment != "" {
		return errors.New("the URL of the endpoint cannot have a fragment: Dovecot would not accept it")
	}
	if s.URL.Scheme == "https" && s.Version == V22 {
		return errors.New("the ox driver of Dovecot 2.2 never accepts a certificate: give an http:// URL, on a network of your own")
	}
	if addr, err := netip.ParseAddr(s.URL.Hostname()); err == nil && addr.Is6() && s.URL.Scheme == "https" {
		return errors.New("an https:// URL with an IPv6 address does not work: Dovecot sends the address in brackets as the server name, for which no certificate can be found; give a name")
	}
	if s.URL.Path == "" || s.URL.Path == "/" {
		return errors.New("the URL of the endpoint has no path: Dovecot would get 404 for every mail; the usual one is /preliminary/http-notify/v1/notify")
	}
	if s.DoveAdm != "" {
		if _, _, err := net.SplitHostPort(s.DoveAdm); err != nil {
			return fmt.Errorf("the address of the DoveAdm API must be host:port: %w", err)
		}
		if s.DoveAdmKey == "" {
			return errors.New("the DoveAdm API needs a key, which must be given: make one with openssl rand -hex 32")
		}
	}
	if (s.ClientCert == "") != (s.ClientKey == "") {
		return errors.New("a client certificate needs its key, and a key its certificate")
	}
	if s.UserFromMetadata && len(s.IMAPFrom) > 0 {
		return errors.New("user_from_metadata together with IMAP METADATA lets users report in the name of others: register through DoveAdm instead")
	}
	for _, value := range []string{s.CAFile, s.ClientCert, s.ClientKey, s.DoveAdmKey} {
		if strings.ContainsAny(value, "\r\n\x00") {
			return errors.New("a value has a line break, which Dovecot's configuration cannot hold")
		}
	}
	return nil
}

// view is what the templates see.
type view struct {
	Settings
	DoveAdmHost, DoveAdmPort string
	// Commands are what the key of the DoveAdm API is good for.
	Commands []string
}

// HTTPS reports whether Dovecot talks TLS.
func (v view) HTTPS() bool { return v.URL.Scheme == "https" }

// IsV22 reports whether the options of 2.3 would be unknown.
func (v view) IsV22() bool { return v.Version == V22 }

// NamesHost reports whether the host of the URL must be looked up.
func (v view) NamesHost() bool {
	_, err := netip.ParseAddr(v.URL.Hostname())
	return err != nil
}

// Endpoint is the URL as the configuration of this version has it: Dovecot 2.2
// and 2.3 expand %variables in it, so that every percent sign is doubled.
func (v view) Endpoint() string {
	u := v.URL
	host := u.Host
	path := u.EscapedPath()
	if u.RawQuery != "" {
		path += "?" + u.RawQuery
	}
	var user string
	if u.User != nil {
		password, given := u.User.Password()
		if !given {
			password = Secret
		}
		user = escape(u.User.Username()) + ":" + escape(password) + "@"
	}
	text := u.Scheme + "://" + user + host + path
	if v.Version != V24 {
		text = strings.ReplaceAll(text, "%", "%%")
	}
	return text
}

// escape percent-encodes everything but the unreserved characters of RFC 3986,
// so that nothing in a password means something to Dovecot's parsers.
func escape(s string) string {
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var b strings.Builder
	for _, c := range []byte(s) {
		if strings.IndexByte(unreserved, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// quote writes a value so that Dovecot reads it as it is.
func quote(s string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/+=:@"
	if s != "" && strings.Trim(s, plain) == "" {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
