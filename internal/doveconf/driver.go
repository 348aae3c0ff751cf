// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveconf

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Driver is one driver of the plugin push_notification.
type Driver struct {
	// Name is its name in the configuration.
	Name string
	// Kind is ox, lua, dlog, or another one that is not known here.
	Kind string
	// Raw is the URL of an ox driver as it is written. It holds the credentials
	// and must never be shown. See [Driver.URL].
	Raw string
	// UserFromMetadata means that it reports the user in the METADATA entry.
	UserFromMetadata bool
	// Timeout bounds one request, and all attempts together in 2.4. 0 is
	// Dovecot's default.
	Timeout time.Duration
	// Attempts is how often a request is sent at most; 0 is Dovecot's default.
	Attempts int
	// Client are the settings ssl_client_… that apply to it.
	Client Client
	// Script is the file of a Lua driver, or empty if none is named.
	Script string

	is24 bool
}

// Client are Dovecot's settings as a TLS client.
type Client struct {
	// The CAs that it trusts: a file, a directory. Default: those of the system.
	CAFile, CADir string
	// CertFile and KeyFile are its client certificate.
	CertFile, KeyFile string
	// Unverified means that it accepts every certificate.
	Unverified bool
}

// client reads the settings. get returns one by its name without ssl_client_.
func client(get func(name string) string) Client {
	file := func(name string) string { // 2.3: ssl_client_cert = <file
		return strings.TrimSpace(strings.TrimPrefix(cmp.Or(get(name+"_file"), get(name)), "<"))
	}
	return Client{
		CAFile: get("ca_file"), CADir: get("ca_dir"), CertFile: file("cert"), KeyFile: file("key"),
		Unverified: strings.EqualFold(get("require_valid_cert"), "no"),
	}
}

// URL returns the URL of an ox driver as the driver gets it for a mail of user.
// It holds the credentials and must never be shown. unknown are the names that
// Dovecot takes for variables but does not know: it fails then.
func (d *Driver) URL(user string) (url string, unknown []string) {
	return expand(d.Raw, user, d.is24)
}

// DefaultAttempts is how often Dovecot 2.2 and 2.3 send a request.
const DefaultAttempts = 2

// Drivers returns the drivers that Dovecot uses, in their order. stopped are
// those that are configured but not used, because of a gap in their numbers.
func (p Protocol) Drivers() (used []Driver, stopped []string) {
	if p.config.Is24() {
		return p.drivers24(), nil
	}
	plugin := p.block.plugin()
	setting := "push_notification_driver"
	if _, ok := plugin[setting]; !ok {
		setting = "push_notification_backend" // its name in 2.2, which is still read
	}
	numbered := make(map[string]string)
	for name, value := range plugin {
		if number, ok := strings.CutPrefix(name, setting); ok {
			numbered[number] = value
		}
	}
	for i := 1; ; i++ {
		number := ""
		if i > 1 {
			number = strconv.Itoa(i)
		}
		value, ok := numbered[number]
		if !ok || value == "" {
			break
		}
		delete(numbered, number)
		used = append(used, p.driver23(setting+number, value))
	}
	for number, value := range numbered {
		if value != "" {
			stopped = append(stopped, setting+number)
		}
	}
	slices.Sort(stopped)
	return used, stopped
}

func (p Protocol) driver23(name, value string) Driver {
	kind, options, _ := strings.Cut(value, ":")
	d := Driver{Name: name, Kind: kind, Client: client(func(setting string) string { return p.block.get("ssl_client_" + setting) })}
	for option := range strings.FieldsSeq(options) {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "url":
			d.Raw = value
		case "user_from_metadata": // its presence is enough, even as "=no"
			d.UserFromMetadata = true
		case "timeout_msecs":
			d.Timeout, _ = time.ParseDuration(value + "ms")
		case "max_retries":
			if retries, err := strconv.Atoi(value); err == nil {
				d.Attempts = retries + 1
			}
		case "file":
			d.Script = value
		}
	}
	return d
}

func (p Protocol) drivers24() (used []Driver) {
	names, blocks := p.block.named("push_notification")
	for _, name := range names {
		b := blocks[name]
		get := func(setting string) string {
			return cmp.Or(b.get(setting), b.get("push_notification_"+setting), p.block.get("push_notification_"+setting))
		}
		d := Driver{
			Name: "push_notification " + name, Kind: cmp.Or(b.get("driver"), b.get("push_notification_driver"), name), is24: true,
			Raw:              cmp.Or(get("ox_url"), b.get("url")),
			UserFromMetadata: isYes(cmp.Or(get("ox_user_from_metadata"), b.get("user_from_metadata"))),
			Client:           client(p.client24(b)),
			Script:           cmp.Or(get("lua_file"), b.get("path"), b.get("file")),
		}
		for _, setting := range []string{"http_client_request_absolute_timeout", "http_client_request_timeout"} {
			if t := duration(cmp.Or(b.get(setting), p.block.get(setting))); t != 0 && (d.Timeout == 0 || t < d.Timeout) {
				d.Timeout = t
			}
		}
		used = append(used, d)
	}
	return used
}

// client24 returns a setting of the TLS client. A driver's own setting takes
// precedence over the global one.
func (p Protocol) client24(driver *block) func(setting string) string {
	return func(setting string) string {
		for _, b := range []*block{driver, p.block} {
			if value := b.get("ssl_client_" + setting); value != "" {
				return value
			}
			for _, ssl := range b.of("ssl_client") {
				if value := ssl.get(setting); value != "" {
					return value
				}
			}
		}
		return ""
	}
}

// variables23 maps the one-letter variables that the settings of plugins can have
// in 2.2 and 2.3 to their long names.
var variables23 = map[byte]string{
	'u': "user", 'n': "username", 'd': "domain", 's': "service", 'h': "home", 'l': "lip", 'r': "rip", 'p': "pid", 'i': "uid",
}

// expand replaces variables the way Dovecot does.
func expand(s, user string, is24 bool) (expanded string, unknown []string) {
	local, domain, _ := strings.Cut(user, "@")
	values := map[string]string{
		"user": user, "username": local, "domain": domain, "service": "lmtp", "home": "home", "lip": "127.0.0.1", "rip": "127.0.0.1",
		"pid": "1", "uid": "1", "gid": "1", "session": "session", "auth_user": user, "auth_username": local, "auth_domain": domain, "hostname": "localhost",
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' || is24 && !strings.HasPrefix(s[i:], "%{") {
			b.WriteByte(s[i])
			continue
		}
		start := i
		if i++; i < len(s) && s[i] == '%' {
			b.WriteByte('%')
			continue
		}
		// Modifiers: a width, an offset, and letters that change the value.
		for !is24 && i < len(s) && strings.IndexByte("0123456789.-LUEXRHNMDT", s[i]) >= 0 {
			i++
		}
		name := ""
		switch {
		case i >= len(s):
		case s[i] == '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				end = len(s) - i
			}
			name = s[i+1 : i+end]
			i += end
		default:
			name = variables23[s[i]]
		}
		value, known := values[name]
		if filtered, filter, ok := strings.Cut(name, "|"); ok && is24 { // as %{user|domain}
			value, known = values[filtered], true
			if v, ok := values[strings.TrimSpace(filter)]; ok {
				value = v
			}
		}
		if strings.Contains(name, ":") { // as %{userdb:name}, which only Dovecot knows
			known = true
		}
		if !known {
			unknown = append(unknown, fmt.Sprintf("%.12s", s[start:min(i+1, len(s))]))
			continue
		}
		b.WriteString(value)
	}
	return b.String(), unknown
}
