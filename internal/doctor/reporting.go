// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/doveconf"
)

// reports is how the mail that arrives by one protocol is reported.
type reports uint8

const (
	nothing  reports = iota // it is not reported, or not delivered
	notSeen                 // a program reports it; where to cannot be known here
	reported                // it is reported to the endpoint
)

// anybody stands for the user in a URL if none is named.
const anybody = "doctor@example.com"

// reporting checks what Dovecot reports of the mails that it delivers, by LMTP or
// with its LDA.
func (d *dovecot) reporting() {
	var protocols []*protocol
	for _, name := range []string{"lmtp", "lda"} {
		if name != "lmtp" || d.Serves(name) {
			p := &protocol{dovecot: d, Protocol: d.Protocol(name), name: name}
			p.look()
			protocols = append(protocols, p)
		}
	}
	best := slices.MaxFunc(protocols, func(a, b *protocol) int { return cmp.Compare(a.result, b.result) })
	for _, p := range protocols {
		for _, f := range p.findings {
			switch {
			case best.result == nothing && p != protocols[0]:
				continue // the first one says why
			case best.result > nothing && p.result == nothing && p.name == "lda" && !p.loaded:
				continue // where LMTP reports, this is not in use as a rule
			case best.result > nothing && p.result == nothing && !p.fails && f.Status == Problem:
				f.Status = Warning // the other protocol reports
			}
			if !slices.Contains(d.findings, f) {
				d.findings = append(d.findings, f)
			}
		}
	}
}

// drivers returns those of all protocols that deliver mail, each once.
func (d *dovecot) drivers() []doveconf.Driver {
	var all []doveconf.Driver
	for _, name := range []string{"lmtp", "lda"} {
		used, _ := d.Protocol(name).Drivers()
		for _, driver := range used {
			if !slices.Contains(all, driver) {
				all = append(all, driver)
			}
		}
	}
	return all
}

// Drivers returns the ox drivers that report to the endpoint.
func Drivers(c *doveconf.Config, want Wanted) []doveconf.Driver {
	d := &dovecot{Config: c, want: want}
	return slices.DeleteFunc(d.drivers(), func(driver doveconf.Driver) bool {
		u, err := d.url(driver)
		return driver.Kind != "ox" || err != nil || want.Path != "" && u.Path != want.Path
	})
}

// protocol checks one protocol by which mail is delivered.
type protocol struct {
	*dovecot
	doveconf.Protocol
	report
	name   string
	result reports
	loaded bool // the plugin is
	fails  bool // no mail can be delivered with it
}

func (p *protocol) look() {
	if !p.plugins() {
		return
	}
	p.loaded = true
	used, stopped := p.Drivers()
	tried := p.setting("push_notification_driver in plugin { }", "push_notification { driver = ox }")
	if len(used) == 0 {
		p.report.problem("dovecot-driver", tried, "there is no driver: nothing is reported",
			"Let caddy dovecot-push dovecot-config print the configuration for this Dovecot.")
	}
	before := len(p.report.findings)
	for _, driver := range used {
		if !p.driver(driver) {
			break // Dovecot does not use those after it
		}
	}
	if len(stopped) > 0 {
		p.worse("dovecot-driver", tried, fmt.Sprintf("%s is not used, because the numbers before it have a gap", strings.Join(stopped, ", ")),
			"Number the drivers without a gap: push_notification_driver, push_notification_driver2, push_notification_driver3.")
	}
	if p.result == nothing && len(used) > 0 && Worst(p.report.findings[before:]) != Problem {
		p.report.problem("dovecot-url", tried, "no driver reports to "+cmp.Or(p.want.Path, "an endpoint"),
			"Write the URL of the notify endpoint into the driver; its path is "+cmp.Or(p.want.Path, "that of dovecot_push_notify"))
	}
}

// worse adds a finding that is a problem only if nothing is reported otherwise.
func (p *protocol) worse(check, tried, got, fix string) {
	status := Problem
	if p.result > nothing {
		status = Warning
	}
	p.add(check, status, tried, got, fix)
}

// plugins reports whether the plugins that notify are loaded.
func (p *protocol) plugins() bool {
	const check = "dovecot-plugins"
	tried := "mail_plugins of protocol " + p.name
	fix := p.setting(fmt.Sprintf("Add to Dovecot's configuration: protocol %s { mail_plugins = $mail_plugins notify push_notification }", p.name),
		fmt.Sprintf("Add to Dovecot's configuration: protocol %s { mail_plugins { notify = yes push_notification = yes } }", p.name))
	plugins := p.Plugins()
	switch {
	case !slices.Contains(plugins, "push_notification"):
		p.report.problem(check, tried, "push_notification is not loaded: mail that comes by "+strings.ToUpper(p.name)+" is not reported", fix)
		return false
	case !slices.Contains(plugins, "notify"):
		p.fails = true
		p.report.problem(check, tried, "push_notification is loaded without notify: no mail can be delivered", fix)
		return false
	}
	p.ok(check, tried, "push_notification is loaded")
	return true
}

// url returns the URL that an ox driver reports to.
func (d *dovecot) url(driver doveconf.Driver) (*url.URL, error) {
	expanded, _ := driver.URL(cmp.Or(d.want.User, anybody))
	u, err := url.Parse(expanded)
	if err == nil && (u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		err = fmt.Errorf("no URL of http or https")
	}
	return u, err
}

// driver checks one driver, and reports whether Dovecot uses those after it.
func (p *protocol) driver(driver doveconf.Driver) (goesOn bool) {
	switch driver.Kind {
	case "ox":
		return p.ox(driver)
	case "lua":
		return p.lua(driver)
	case "dlog":
		return true // it writes to the log
	default:
		p.worse("dovecot-driver", driver.Name, "there is no driver "+driver.Kind+": neither it nor those after it are used", "Write ox for the driver.")
		return false
	}
}

func (p *protocol) ox(driver doveconf.Driver) (goesOn bool) {
	tried := driver.Name
	if _, unknown := driver.URL(cmp.Or(p.want.User, anybody)); len(unknown) > 0 {
		p.fails, p.result = true, nothing
		p.report.problem("dovecot-percent", tried, "Dovecot takes a % in the URL for a variable, and knows none of that name: no mail can be delivered",
			"Double every % that is none: %40 is written %%40.")
		return false
	}
	u, err := p.url(driver)
	if err != nil {
		p.worse("dovecot-url", tried, "the URL of the driver is not valid: neither it nor the drivers after it are used",
			"Write it as http(s)://user:password@host:port/path, and percent-encode what user and password have besides letters and digits.")
		return false
	}
	if p.want.Path != "" && u.Path != p.want.Path {
		return true
	}
	if !p.HasAttributeDict() {
		p.report.problem("dovecot-dictionary", p.setting("mail_attribute_dict", "mail_attribute { dict … }"),
			"it is not set: nobody can be registered, and nothing is reported",
			"Add to Dovecot's configuration: "+p.setting("mail_attribute_dict = file:%h/dovecot-attributes",
				"mail_attribute { dict file { path = %{home}/dovecot-attributes } }"))
		return true
	}
	if u.Scheme == "https" && !p.AtLeast("2.3.3") {
		p.worse("dovecot-https", driver.Name, "Dovecot "+p.Release+" cannot report over https: it never accepts the certificate",
			"Upgrade Dovecot to 2.3.3 or later, or serve the endpoint with http:// in a network of your own.")
		return true
	}
	p.result = reported
	p.ok("dovecot-driver", tried, "it reports to "+u.Scheme+"://"+u.Host+u.Path)
	if _, given := u.User.Password(); u.User != nil && !given {
		p.report.warning("dovecot-credentials", tried, "the URL has a user name and no password: Dovecot sends no credentials then", "Write user:password@ into the URL.")
	}
	switch {
	case u.Scheme != "https":
	case driver.Client.Unverified:
		p.report.warning("dovecot-https", driver.Name, "ssl_client_require_valid_cert is off: it reports to any server that answers", "Remove it, and set ssl_client_ca_file.")
	case driver.Client.CAFile == "" && driver.Client.CADir == "":
		p.report.warning("dovecot-https", driver.Name, "ssl_client_ca_file is not set: only certificates of public CAs are accepted, if at all",
			"Set ssl_client_ca_file to the file with the CA of the endpoint: caddy dovecot-push dovecot-config --print-ca")
	}
	p.timeouts(driver, u)
	return true
}

// lua checks a driver that runs a script, which may report anything to anybody.
func (p *protocol) lua(driver doveconf.Driver) (goesOn bool) {
	needed := []string{"mail_lua", "push_notification_lua"}
	for _, plugin := range needed {
		if !slices.Contains(p.Plugins(), plugin) {
			p.worse("dovecot-driver", driver.Name, "the driver lua needs the plugin "+plugin+", which is not loaded: neither it nor the drivers after it are used",
				"Load "+strings.Join(needed, " and ")+" beside push_notification.")
			return false
		}
	}
	if p.Is24() && driver.Script == "" {
		p.worse("dovecot-driver", driver.Name, "it has no script: lua_file is not set", "Write lua_file = <path of the script> into the push_notification block.")
		return false
	}
	if p.Local && strings.HasPrefix(driver.Script, "/") {
		if _, err := os.Stat(driver.Script); err != nil {
			p.worse("dovecot-driver", driver.Name, "its script cannot be read: "+err.Error(), "Put the script there.")
			return false
		}
	}
	p.result = max(p.result, notSeen)
	p.add("dovecot-driver", Skipped, driver.Name, "a Lua script reports; what, and where to, is not seen here",
		"Let a real mail decide: caddy dovecot-push doctor --user <login> --deliver <LMTP address>")
	return true
}

// patience returns how long the delivery of a mail waits for an endpoint that
// hangs.
const patience = 10 * time.Second

func (p *protocol) timeouts(driver doveconf.Driver, u *url.URL) {
	const check = "dovecot-timeouts"
	if !p.Is24() {
		if driver.Timeout > patience {
			waits := driver.Timeout * time.Duration(cmp.Or(driver.Attempts, doveconf.DefaultAttempts))
			p.report.warning(check, driver.Name, fmt.Sprintf("when the endpoint hangs, each mail waits for %s", waits),
				"Write timeout_msecs=1000 max_retries=1 into the driver.")
		}
		return
	}
	if driver.Timeout == 0 && !p.AtLeast("2.4.4") || driver.Timeout > patience {
		p.report.warning(check, driver.Name, fmt.Sprintf("when the endpoint hangs, each mail waits for %s", cmp.Or(driver.Timeout, time.Minute)),
			"Add to the push_notification block: http_client_request_timeout = 1s, http_client_request_max_attempts = 2, http_client_request_absolute_timeout = 1500ms")
	}
	if _, err := netip.ParseAddr(u.Hostname()); err != nil && !p.AtLeast("2.4.4") {
		p.report.warning("dovecot-lookup", driver.Name, "Dovecot "+p.Release+" may crash while it looks up the host name of the URL (fixed in 2.4.4)",
			"Write the IP address of Caddy into the URL, and into the Caddyfile, or upgrade Dovecot.")
	}
}
