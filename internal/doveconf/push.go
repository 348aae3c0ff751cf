// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveconf

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"
)

// Driver is one ox driver.
type Driver struct {
	// Name is how the configuration calls it.
	Name string
	// URL as the driver gets it, with the credentials in it: never to be
	// shown.
	URL string
	// Raw is the URL as it is written.
	Raw string
	// UserFromMetadata tells that it reports what the METADATA entry says.
	UserFromMetadata bool
	// Timeout bounds one request, and all attempts together; 0 if nothing
	// does but Dovecot's default.
	Timeout time.Duration
	// CAFile is the setting ssl_client_ca_file that holds for it.
	CAFile string
}

// Drivers are the ox drivers that Dovecot uses, in their order. stopped tells
// of drivers that are written but not used, because the numbers before them
// have a gap.
func (c *Config) Drivers() (used []Driver, stopped []string) {
	if c.Is24() {
		return c.drivers24(), nil
	}
	numbered := make(map[string]string)
	for _, plugin := range c.root.of("plugin") {
		for _, s := range plugin.settings {
			if number, ok := strings.CutPrefix(s.name, "push_notification_driver"); ok {
				numbered[number] = s.value
			}
		}
	}
	for i := 1; ; i++ {
		number := fmt.Sprint(i)
		if i == 1 {
			number = ""
		}
		value, ok := numbered[number]
		if !ok {
			break
		}
		delete(numbered, number)
		if options, ox := strings.CutPrefix(value, "ox:"); ox {
			used = append(used, c.driver23("push_notification_driver"+number, options))
		}
	}
	for number := range numbered {
		stopped = append(stopped, "push_notification_driver"+number)
	}
	slices.Sort(stopped)
	return used, stopped
}

func (c *Config) driver23(name, options string) Driver {
	d := Driver{Name: name, CAFile: c.root.get("ssl_client_ca_file")}
	for option := range strings.FieldsSeq(options) {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "url":
			d.Raw = value
			d.URL = strings.ReplaceAll(value, "%%", "%")
		case "user_from_metadata": // its presence is enough, even as "=no"
			d.UserFromMetadata = true
		case "timeout_msecs":
			d.Timeout, _ = time.ParseDuration(value + "ms")
		}
	}
	return d
}

func (c *Config) drivers24() (used []Driver) {
	for _, b := range c.root.of("push_notification") {
		driver := b.get("driver")
		if driver == "" {
			driver = b.name
		}
		if driver != "ox" {
			continue
		}
		d := Driver{Name: "push_notification " + b.name, CAFile: c.root.get("ssl_client_ca_file")}
		for _, s := range b.settings {
			switch strings.TrimPrefix(s.name, "push_notification_") {
			case "ox_url", "url":
				d.URL, d.Raw = s.value, s.value
			case "ox_user_from_metadata", "user_from_metadata":
				d.UserFromMetadata = isYes(s.value)
			case "http_client_request_absolute_timeout", "http_client_request_timeout":
				if t := duration(s.value); d.Timeout == 0 || t < d.Timeout {
					d.Timeout = t
				}
			case "ssl_client_ca_file":
				d.CAFile = s.value
			}
		}
		for _, ssl := range append(c.root.of("ssl_client"), b.of("ssl_client")...) {
			if file := ssl.get("ca_file"); file != "" {
				d.CAFile = file
			}
		}
		used = append(used, d)
	}
	return used
}

// duration reads Dovecot's spelling of a time: 1500ms, 1 s, 2 mins.
func duration(s string) time.Duration {
	s = strings.ReplaceAll(s, " ", "")
	i := strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' })
	if i < 0 {
		i = len(s)
	}
	number, unit := s[:i], strings.TrimSuffix(s[i:], "s")
	unit = map[string]string{"": "s", "m": "ms", "ms": "ms", "msec": "ms", "sec": "s", "min": "m", "hour": "h", "h": "h"}[unit]
	if strings.HasSuffix(s, "m") {
		unit = "m"
	}
	d, _ := time.ParseDuration(number + unit)
	return d
}

// HasAttributeDict tells whether METADATA entries have a place.
func (c *Config) HasAttributeDict() bool {
	if !c.Is24() {
		return c.root.get("mail_attribute_dict") != ""
	}
	for _, b := range c.root.of("mail_attribute") {
		if len(b.blocks) > 0 || len(b.settings) > 0 {
			return true
		}
	}
	return false
}

// IMAPMetadata tells where imap_metadata is on: for everybody, or for some
// networks only.
func (c *Config) IMAPMetadata() (everybody, somewhere bool) {
	everybody = isYes(c.root.get("imap_metadata"))
	for _, b := range c.root.of("protocol") {
		everybody = everybody || b.name == "imap" && isYes(b.get("imap_metadata"))
	}
	for _, kind := range []string{"remote", "local"} {
		for _, b := range c.root.of(kind) {
			somewhere = somewhere || isYes(b.get("imap_metadata"))
			for _, in := range b.of("protocol") {
				somewhere = somewhere || in.name == "imap" && isYes(in.get("imap_metadata"))
			}
		}
	}
	return everybody, everybody || somewhere
}

// Plugins are the mail_plugins of a protocol, such as lmtp.
func (c *Config) Plugins(protocol string) []string {
	all := c.root.plugins(nil)
	for _, b := range c.root.of("protocol") {
		if b.name == protocol {
			all = b.plugins(all)
		}
	}
	return all
}

// plugins are those of a block, where the ones around it are inherited.
func (b *block) plugins(inherited []string) []string {
	if b.has("mail_plugins") { // 2.3: doveconf has replaced $mail_plugins
		return strings.Fields(b.get("mail_plugins"))
	}
	all := slices.Clone(inherited)
	for _, list := range b.of("mail_plugins") { // 2.4
		for _, s := range list.settings {
			all = slices.DeleteFunc(all, func(p string) bool { return p == s.name })
			if isYes(s.value) {
				all = append(all, s.name)
			}
		}
	}
	return all
}

// Serves tells whether a protocol is on. An empty list is Dovecot's default,
// which Debian's packages fill by files that doveconf shows.
func (c *Config) Serves(protocol string) bool {
	if c.root.has("protocols") {
		return slices.Contains(strings.Fields(c.root.get("protocols")), protocol)
	}
	for _, b := range c.root.of("protocols") {
		for _, s := range b.settings {
			if s.name == protocol {
				return isYes(s.value)
			}
		}
	}
	return true
}

// DoveAdm is the HTTP API of DoveAdm as it is configured.
type DoveAdm struct {
	// Listen are its addresses, host:port; none if it does not listen.
	Listen []string
	// Secret tells that there is a key or a password.
	Secret bool
	// Commands are those that may be called; empty for all.
	Commands []string
	// Blocked tells that the list has a form in which it permits nothing.
	Blocked bool
}

// DoveAdm returns the settings of the DoveAdm API.
func (c *Config) DoveAdm() DoveAdm {
	d := DoveAdm{Secret: c.root.get("doveadm_api_key") != "" || c.root.get("doveadm_password") != ""}
	for _, service := range c.root.of("service") {
		if service.name != "doveadm" {
			continue
		}
		for _, listener := range service.of("inet_listener") {
			port := listener.get("port")
			if listener.name != "http" && listener.get("type") != "http" || port == "" || port == "0" {
				continue
			}
			host := listener.get("address") + listener.get("listen")
			d.Listen = append(d.Listen, net.JoinHostPort(host, port))
		}
	}
	list := c.root.get("doveadm_allowed_commands")
	if !c.Is24() {
		for command := range strings.SplitSeq(list, ",") {
			if command = strings.TrimSpace(command); command != "" {
				d.Commands = append(d.Commands, command)
			}
		}
		return d
	}
	for command := range strings.FieldsSeq(list) {
		d.Commands = append(d.Commands, command)
	}
	d.Blocked = list != "" // 2.4 takes a list with commas for one command that there is not
	for _, b := range c.root.of("doveadm_allowed_commands") {
		for _, s := range b.settings {
			if isYes(s.value) {
				d.Commands = append(d.Commands, s.name)
			}
		}
	}
	return d
}
