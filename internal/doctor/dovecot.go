// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/doveconf"
)

// Wanted is what the configuration of Dovecot should fit to.
type Wanted struct {
	// Path of the notify endpoint. Empty: any.
	Path string
	// DoveAdm tells that users are registered over the DoveAdm API, with all
	// users listed if AllUsers is set; IMAP that they are over IMAP METADATA.
	DoveAdm, AllUsers, IMAP bool
}

// Dovecot looks at the configuration of a Dovecot.
func Dovecot(c *doveconf.Config, want Wanted) []Finding {
	d := &dovecot{Config: c, want: want}
	d.version()
	d.dictionary()
	d.plugins()
	d.drivers()
	d.metadata()
	if want.DoveAdm {
		d.doveAdm()
	}
	return d.findings
}

type dovecot struct {
	*doveconf.Config
	report
	want Wanted
}

// setting is how a setting is written in this version.
func (d *dovecot) setting(v23, v24 string) string {
	if d.Is24() {
		return v24
	}
	return v23
}

// knownBad are releases with faults that matter here. Bounds: from is bad,
// until is not.
var knownBad = []struct {
	from, until, fault string
	status             Status
}{
	{"2.0", "2.2.19", "it has no ox driver", Problem},
	{"2.3.0", "2.3.5.2", "a mail with invalid UTF-8 in From or Subject crashes its delivery (CVE-2019-10691)", Problem},
	{"2.3.9", "2.3.9.2", "a mail with an empty From or a group address crashes its delivery (CVE-2019-19722)", Problem},
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

func (d *dovecot) dictionary() {
	const check = "dovecot-dictionary"
	tried := d.setting("mail_attribute_dict", "mail_attribute { dict … }")
	if d.HasAttributeDict() {
		d.ok(check, tried, "METADATA entries have a place")
		return
	}
	d.problem(check, tried, "it is not set: nobody can be registered, and nothing is reported",
		"Add to Dovecot's configuration: "+d.setting("mail_attribute_dict = file:%h/dovecot-attributes",
			"mail_attribute { dict file { path = %{home}/dovecot-attributes } }"))
}

func (d *dovecot) plugins() {
	const check = "dovecot-plugins"
	add := func(protocol string) string {
		return d.setting(fmt.Sprintf("Add to Dovecot's configuration: protocol %s { mail_plugins = $mail_plugins notify push_notification }", protocol),
			fmt.Sprintf("Add to Dovecot's configuration: protocol %s { mail_plugins { notify = yes push_notification = yes } }", protocol))
	}
	loaded := false
	for _, protocol := range []string{"lmtp", "lda"} {
		tried := "mail_plugins of protocol " + protocol
		plugins := d.Plugins(protocol)
		push, notify := slices.Contains(plugins, "push_notification"), slices.Contains(plugins, "notify")
		switch {
		case push && !notify:
			d.problem(check, tried, "push_notification is loaded without notify: no mail can be delivered", add(protocol))
			return
		case push:
			loaded = true
			d.ok(check, tried, "push_notification is loaded")
		case protocol == "lmtp" && d.Serves("lmtp"):
			d.problem(check, tried, "push_notification is not loaded: mail that comes by LMTP is not reported", add(protocol))
			return
		case !loaded:
			d.problem(check, tried, "push_notification is not loaded: no mail is reported", add(protocol))
		}
	}
}

func (d *dovecot) drivers() {
	const check = "dovecot-driver"
	tried := d.setting("push_notification_driver in plugin { }", "push_notification { driver = ox }")
	used, stopped := d.Drivers()
	if len(stopped) > 0 {
		d.problem(check, tried, fmt.Sprintf("%s is not used, because the numbers before it have a gap", strings.Join(stopped, ", ")),
			"Number the drivers without a gap: push_notification_driver, push_notification_driver2, push_notification_driver3.")
	}
	if len(used) == 0 {
		d.problem(check, tried, "there is no ox driver: nothing is reported",
			"Let caddy dovecot-push dovecot-config print the configuration for this Dovecot.")
		return
	}
	ours := false
	for _, driver := range used {
		ours = d.driver(driver) || ours
	}
	if !ours && d.want.Path != "" {
		d.problem("dovecot-url", tried, "no driver reports to "+d.want.Path, "Write the URL of the notify endpoint into the driver; its path is "+d.want.Path)
	}
}

// percentEscape finds what Dovecot 2.2 and 2.3 take for a variable.
var percentEscape = regexp.MustCompile(`(^|[^%])(%%)*%([^%]|$)`)

// driver looks at one driver, and tells whether it reports to our path.
func (d *dovecot) driver(driver doveconf.Driver) bool {
	tried := driver.Name
	if !d.Is24() && percentEscape.MatchString(driver.Raw) {
		d.problem("dovecot-percent", tried, "a single % is in the URL: Dovecot takes it for a variable, and no mail can be delivered",
			"Double every % in the URL: %40 is written %%40.")
		return true // and nothing else can be said about it
	}
	u, err := url.Parse(driver.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		d.problem("dovecot-url", tried, "the URL of the driver is not valid",
			"Write it as http(s)://user:password@host:port/path, and percent-encode what user and password have besides letters and digits.")
		return true
	}
	if d.want.Path != "" && u.Path != d.want.Path {
		return false
	}
	d.ok("dovecot-driver", tried, "it reports to "+u.Scheme+"://"+u.Host+u.Path)
	if _, given := u.User.Password(); u.User != nil && !given {
		d.problem("dovecot-credentials", tried, "the URL has a user name and no password: Dovecot sends no credentials then", "Write user:password@ into the URL.")
	}
	d.https(driver, u)
	d.timeouts(driver, u)
	return true
}

func (d *dovecot) https(driver doveconf.Driver, u *url.URL) {
	switch {
	case u.Scheme != "https":
	case !d.AtLeast("2.3.3"):
		d.problem("dovecot-https", driver.Name, "Dovecot "+d.Release+" cannot report over https: it never accepts the certificate",
			"Upgrade Dovecot to 2.3.3 or later, or serve the endpoint with http:// in a network of your own.")
	case driver.CAFile == "":
		d.warning("dovecot-https", driver.Name, "ssl_client_ca_file is not set: only certificates of public CAs are accepted, if at all",
			"Set ssl_client_ca_file to the file with the CA of the endpoint: caddy dovecot-push dovecot-config --print-ca")
	}
}

// patience is how long a mail may wait for an endpoint that hangs.
const patience = 10 * time.Second

func (d *dovecot) timeouts(driver doveconf.Driver, u *url.URL) {
	if !d.Is24() {
		return
	}
	if driver.Timeout == 0 && !d.AtLeast("2.4.4") || driver.Timeout > patience {
		d.warning("dovecot-timeouts", driver.Name, "no timeout: when the endpoint hangs, each mail waits for 60 s",
			"Add to the push_notification block: http_client_request_timeout = 1s, http_client_request_max_attempts = 2, http_client_request_absolute_timeout = 1500ms")
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && !d.AtLeast("2.4.4") {
		d.warning("dovecot-lookup", driver.Name, "Dovecot "+d.Release+" may crash while it looks up the host name of the URL (fixed in 2.4.4)",
			"Write the IP address of Caddy into the URL, and into the Caddyfile, or upgrade Dovecot.")
	}
}

func (d *dovecot) metadata() {
	const check = "dovecot-metadata"
	everybody, somewhere := d.IMAPMetadata()
	used, _ := d.Drivers()
	fromMetadata := slices.ContainsFunc(used, func(driver doveconf.Driver) bool { return driver.UserFromMetadata })
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
	var missing []string
	for _, command := range needed {
		if !slices.Contains(api.Commands, command) {
			missing = append(missing, command)
		}
	}
	const tried = "doveadm_allowed_commands"
	switch {
	case api.Blocked:
		d.problem(check, tried, "Dovecot 2.4 does not take a list with commas: it permits nothing",
			`Write it as a block: doveadm_allowed_commands { "mailbox metadata set" = yes … }`)
	case len(api.Commands) == 0:
		d.warning(check, tried, "the key permits every command, such as to read and to delete mail",
			"Limit it to what is needed: "+strings.Join(needed, ", "))
	case len(missing) > 0:
		d.problem(check, tried, "it does not permit: "+strings.Join(missing, ", "), "Add: "+strings.Join(missing, ", "))
	default:
		d.ok(check, tried, "permits what is needed")
	}
}
