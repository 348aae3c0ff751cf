// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveconf

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The files are what doveconf printed, but for the names of the machine.
func read(t *testing.T, release string) *Config {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", release+".txt"))
	require.NoError(t, err)
	c, err := Parse(string(text))
	require.NoError(t, err)
	return c
}

func TestParse23(t *testing.T) {
	c := read(t, "2.3.19")
	assert.Equal(t, "2.3.19.1", c.Release)
	assert.False(t, c.Is24())
	lmtp := c.Protocol("lmtp")
	drivers, stopped := lmtp.Drivers()
	assert.Empty(t, stopped)
	assert.Equal(t, []Driver{{
		Name: "push_notification_driver", Kind: "ox", Raw: "https://dovecot:p%%40@h:8009/n",
		Timeout: time.Second, Attempts: 2, Client: Client{CAFile: "/etc/ssl/certs/ca-certificates.crt"},
	}}, drivers)
	url, unknown := drivers[0].URL("alice@example.com")
	assert.Equal(t, "https://dovecot:p%40@h:8009/n", url)
	assert.Empty(t, unknown)
	assert.True(t, lmtp.HasAttributeDict())
	assert.Equal(t, []string{"notify", "push_notification"}, lmtp.Plugins())
	assert.Empty(t, c.Protocol("imap").Plugins())
	everybody, somewhere := c.IMAPMetadata()
	assert.False(t, everybody)
	assert.True(t, somewhere)
	assert.Equal(t, DoveAdm{
		Listen: []string{"127.0.0.1:8080"}, Secret: true, Commands: []string{"mailbox metadata set", "mailbox metadata get"},
	}, c.DoveAdm())
}

func TestParse24(t *testing.T) {
	c := read(t, "2.4.1")
	assert.Equal(t, "2.4.1-4", c.Release)
	assert.True(t, c.Is24())
	drivers, _ := c.Protocol("lmtp").Drivers()
	assert.Equal(t, []Driver{{
		Name: "push_notification caddy", Kind: "ox", Raw: "https://dovecot:p%40@h:8009/n", is24: true,
		Timeout: time.Second, Client: Client{CAFile: "/etc/ssl/certs/ca-certificates.crt"},
	}}, drivers)
	assert.True(t, c.Protocol("lmtp").HasAttributeDict())
	assert.Equal(t, []string{"notify", "push_notification"}, c.Protocol("lmtp").Plugins())
	everybody, somewhere := c.IMAPMetadata()
	assert.False(t, everybody)
	assert.True(t, somewhere)
	assert.Equal(t, DoveAdm{Listen: []string{"127.0.0.1:8080"}, Secret: true, Commands: []string{"mailbox metadata set"}}, c.DoveAdm())
}

func TestDriversWithAGap(t *testing.T) {
	c, err := Parse("# 2.3.19 (x)\nplugin {\npush_notification_driver = ox:url=http://a/ user_from_metadata=no\n" +
		"push_notification_driver2 = dlog\npush_notification_driver4 = ox:url=http://b/\n}\n")
	require.NoError(t, err)
	drivers, stopped := c.Protocol("lmtp").Drivers()
	require.Len(t, drivers, 2)
	require.Equal(t, "dlog", drivers[1].Kind)
	require.True(t, drivers[0].UserFromMetadata, "the word alone turns it on")
	require.Equal(t, []string{"push_notification_driver4"}, stopped)
}

func TestAtLeast(t *testing.T) {
	for release, want := range map[string]bool{
		"2.3.3": true, "2.3.19.1": true, "2.4.0": true, "2.4.1-4": true, "2.3.2": false, "2.2.36.4": false, "2.3": false,
	} {
		c := &Config{Release: release}
		assert.Equal(t, want, c.AtLeast("2.3.3"), release)
	}
}

func TestCutsDomain(t *testing.T) {
	for format, want := range map[string]bool{
		"": false, "%u": false, "%Lu": false, "%n": true, "%Ln": true, "%n@%d": false, "%Ln@%Ld": false, "%n@example.org": true,
		"%{user}": false, "%{user | lower}": false, "%{user | username | lower}": true, "%{user|username}": true, "%{username}": true, "%{username}@%{domain}": false,
		"%{user | username}@%{user | domain}": false,
	} {
		c, err := Parse("# 2.4.1 (abc): /etc/dovecot/dovecot.conf\nauth_username_format = " + format + "\n")
		require.NoError(t, err)
		assert.Equal(t, want, c.CutsDomain(), format)
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"1500ms": 1500 * time.Millisecond, "1500 msecs": 1500 * time.Millisecond, "1s": time.Second, "2 secs": 2 * time.Second,
		"1m": time.Minute, "1 min": time.Minute, "1h": time.Hour, "5": 5 * time.Second, "": 0, "never": 0,
	} {
		assert.Equal(t, want, duration(text), text)
	}
}

// A value may end in a brace.
func TestParseValueWithABrace(t *testing.T) {
	c, err := Parse("# 2.3.19 (x)\ndoveadm_password = se{cr}et{\nmail_attribute_dict = file:x\n")
	require.NoError(t, err)
	assert.True(t, c.DoveAdm().Secret)
	assert.True(t, c.Protocol("lmtp").HasAttributeDict())
}

// What a protocol has of its own stands above what holds for all.
func TestProtocol(t *testing.T) {
	c, err := Parse("# 2.3.19 (x)\nmail_plugins = notify\nplugin {\n push_notification_driver = dlog\n}\n" +
		"protocol lmtp {\n mail_plugins = notify push_notification\n plugin {\n push_notification_driver = lua:file=/etc/push.lua\n }\n}\n" +
		"protocol !imap {\n mail_attribute_dict = file:x\n}\n")
	require.NoError(t, err)
	drivers, _ := c.Protocol("lmtp").Drivers()
	require.Len(t, drivers, 1)
	assert.Equal(t, "lua", drivers[0].Kind)
	assert.Equal(t, "/etc/push.lua", drivers[0].Script)
	assert.Equal(t, []string{"notify", "push_notification"}, c.Protocol("lmtp").Plugins())
	assert.True(t, c.Protocol("lmtp").HasAttributeDict())
	drivers, _ = c.Protocol("lda").Drivers()
	require.Len(t, drivers, 1)
	assert.Equal(t, "dlog", drivers[0].Kind)
	assert.Equal(t, []string{"notify"}, c.Protocol("lda").Plugins())
	assert.False(t, c.Protocol("imap").HasAttributeDict())
}

func TestExpand(t *testing.T) {
	const user = "alice@example.com"
	for text, want := range map[string]string{
		"http://h/n?for=%u": "http://h/n?for=alice@example.com", "%n at %d": "alice at example.com", "%Lu": user, "%{user}": user,
		"p%%40": "p%40", "plain": "plain",
	} {
		got, unknown := expand(text, user, false)
		assert.Equal(t, want, got)
		assert.Empty(t, unknown, text)
	}
	for text, want := range map[string]string{"p%40e": "%40e", "p%40@h": "%40@", "%{nonsense}": "%{nonsense}", "x%": "%"} {
		_, unknown := expand(text, user, false)
		assert.Equal(t, []string{want}, unknown)
	}
	got, unknown := expand("http://p%40e@h/n?for=%{user|domain}&u=%{user}&x=%u", user, true)
	assert.Equal(t, "http://p%40e@h/n?for=example.com&u=alice@example.com&x=%u", got)
	assert.Empty(t, unknown)
}

func TestParseGarbage(t *testing.T) {
	for _, text := range []string{"", "}", "# 2.3.19 (x)\n}\n", "mail_location = x\n"} {
		_, err := Parse(text)
		require.Error(t, err)
	}
}

func FuzzParse(f *testing.F) {
	for _, release := range []string{"2.3.19", "2.4.1"} {
		text, err := os.ReadFile(filepath.Join("testdata", release+".txt"))
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Fuzz(func(_ *testing.T, text string) {
		if c, err := Parse(text); err == nil {
			c.Protocol("lmtp").Drivers()
			c.Protocol("lmtp").Plugins()
			c.DoveAdm()
			c.IMAPMetadata()
		}
	})
}
