// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"slices"
	"strings"

	"github.com/dovecotpush/caddy-dovecot-push/internal/doveconf"
)

// Wanted is what the configuration of Dovecot is checked against.
type Wanted struct {
	// Path of the notify endpoint. Empty: any.
	Path string
	// User whose mails should be reported. Empty: any.
	User string
	// DoveAdm tells that users are registered over the DoveAdm API, with all
	// users listed if AllUsers is set; IMAP that they are over IMAP METADATA.
	DoveAdm, AllUsers, IMAP bool
	// Logins tells that people sign in, and that Dovecot is not asked what their
	// logins stand for.
	Logins bool
}

// Dovecot checks the configuration of a Dovecot.
func Dovecot(c *doveconf.Config, want Wanted) []Finding {
	d := &dovecot{Config: c, want: want}
	d.version()
	d.reporting()
	d.metadata()
	if want.DoveAdm {
		d.doveAdm()
	}
	if want.Logins {
		d.names()
	}
	return d.findings
}

type dovecot struct {
	*doveconf.Config
	report
	want Wanted
}

// setting returns how a setting is written in this version.
func (d *dovecot) setting(v23, v24 string) string {
	if d.Is24() {
		return v24
	}
	return v23
}

// knownBad are releases with bugs that matter here: from is the first one that
// has the bug, until the first one that does not.
var knownBad = []struct {
	from, until, fault string
	status             Status
}{
	{"2.0", "2.2.19", "it has no ox driver", Problem},
	{"2.3.0", "2.3.5.2", "a mail with invalid UTF-8 in From or Subject crashes its delivery (CVE-2019-10691)", Warning},
	{"2.3.9", "2.3.9.2", "a mail with an empty From or a group address crashes its delivery (CVE-2019-19722)", Warning},
}

func (d *dovecot) version() {
	const check, tried = "dovecot-version", "the version that doveconf tells"
	for _, bad := range knownBad {
		if d.AtLeast(bad.from) && !d.AtLeast(bad.until) {
			d.add(check, bad.status, tried, d.Release+": "+bad.fault, "Upgrade Dovecot to "+bad.until+" or later.")
			return
		}
	}
	d.ok(check, tried, d.Release)
}

func (d *dovecot) metadata() {
	const check = "dovecot-metadata"
	everybody, somewhere := d.IMAPMetadata()
	fromMetadata := slices.ContainsFunc(d.drivers(), func(driver doveconf.Driver) bool { return driver.UserFromMetadata })
	switch {
	case everybody && fromMetadata:
		d.problem(check, "imap_metadata and user_from_metadata", "both are on: everybody can write somebody else's name into the own entry, and Dovecot reports for them",
			"Take imap_metadata = yes away (users are registered over the DoveAdm API without it), or user_from_metadata.")
	case everybody && !d.want.IMAP:
		d.warning(check, "imap_metadata", "it is on for everybody: people can switch their own reports on and off", "Take imap_metadata = yes away: registration over the DoveAdm API does not need it.")
	case everybody:
		d.warning(check, "imap_metadata", "it is on for everybody", "Limit it to Caddy's address: remote <address> { protocol imap { imap_metadata = yes } }")
	case !somewhere && d.want.IMAP:
		d.problem(check, "imap_metadata", "it is off: nobody can be registered over IMAP", "Add to Dovecot's configuration: remote <address of Caddy> { protocol imap { imap_metadata = yes } }")
	default:
		d.ok(check, "imap_metadata", "fits the way users are registered")
	}
}

// names checks whether logins are the names that Dovecot reports.
func (d *dovecot) names() {
	const check, tried = "dovecot-names", "auth_username_format"
	if d.CutsDomain() {
		d.warning(check, tried, "it cuts the domain off, and without a doveadm block nobody tells Caddy: mail is reported for the name without it, of which "+
			"devices of a login with it get nothing, and logins that differ in the domain count as several users",
			"Add a doveadm block to the global option: Dovecot is asked for the name then.")
		return
	}
	d.ok(check, tried, "keeps the domain")
}

func (d *dovecot) doveAdm() {
	const check = "dovecot-doveadm"
	api := d.DoveAdm()
	if len(api.Listen) == 0 {
		d.problem(check, "service doveadm", "its HTTP API does not listen: nobody can be registered",
			"Add to Dovecot's configuration: service doveadm { inet_listener http { port = 8080 } } (caddy dovecot-push dovecot-config prints it)")
		return
	}
	if !api.Secret {
		d.problem(check, "doveadm_api_key", "neither it nor doveadm_password is set: the API answers nobody", "Set doveadm_api_key to the api_secret of the Caddyfile.")
		return
	}
	needed := []string{"mailbox metadata set", "mailbox metadata get", "mailbox metadata unset"}
	if d.want.AllUsers {
		needed = append(needed, "user")
	}
	forbidden := func(commands ...string) []string {
		return slices.DeleteFunc(commands, func(c string) bool { return slices.Contains(api.Commands, c) })
	}
	missing := forbidden(slices.Clone(needed)...)
	unseen := forbidden("mailbox status", "fetch") // of the catch-up
	const tried = "doveadm_allowed_commands"
	switch {
	case api.Blocked:
		d.problem(check, tried, "Dovecot 2.4 does not take a list with commas: it permits nothing",
			`Write it as a block: doveadm_allowed_commands { "mailbox metadata set" = yes … }`)
	case len(api.Commands) == 0:
		d.warning(check, tried, "the key permits every command, such as to read and to delete mail",
			"Limit it to what is needed: "+strings.Join(append(needed, "mailbox status", "fetch"), ", "))
	case len(missing) > 0:
		d.problem(check, tried, "it does not permit: "+strings.Join(missing, ", "), "Add: "+strings.Join(missing, ", "))
	case len(unseen) > 0:
		d.warning(check, tried, "it does not permit: "+strings.Join(unseen, ", ")+": what Dovecot could not report is not found",
			"Add: "+strings.Join(unseen, ", ")+"; or switch it off: catch_up { off } in the Caddyfile")
	default:
		d.ok(check, tried, "permits what is needed")
	}
}
