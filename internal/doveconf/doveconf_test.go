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
	drivers, stopped := c.Drivers()
	assert.Empty(t, stopped)
	assert.Equal(t, []Driver{{
		Name: "push_notification_driver", URL: "https://dovecot:p%40@h:8009/n", Raw: "https://dovecot:p%%40@h:8009/n",
		Timeout: time.Second, CAFile: "/etc/ssl/certs/ca-certificates.crt",
	}}, drivers)
	assert.True(t, c.HasAttributeDict())
	assert.Equal(t, []string{"notify", "push_notification"}, c.Plugins("lmtp"))
	assert.Empty(t, c.Plugins("imap"))
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
	drivers, _ := c.Drivers()
	assert.Equal(t, []Driver{{
		Name: "push_notification caddy", URL: "https://dovecot:p%40@h:8009/n", Raw: "https://dovecot:p%40@h:8009/n",
		Timeout: time.Second, CAFile: "/etc/ssl/certs/ca-certificates.crt",
	}}, drivers)
	assert.True(t, c.HasAttributeDict())
	assert.Equal(t, []string{"notify", "push_notification"}, c.Plugins("lmtp"))
	everybody, somewhere := c.IMAPMetadata()
	assert.False(t, everybody)
	assert.True(t, somewhere)
	assert.Equal(t, DoveAdm{Listen: []string{"127.0.0.1:8080"}, Secret: true, Commands: []string{"mailbox metadata set"}}, c.DoveAdm())
}

func TestDriversWithAGap(t *testing.T) {
	c, err := Parse("# 2.3.19 (x)\nplugin {\npush_notification_driver = ox:url=http://a/ user_from_metadata=no\n" +
		"push_notification_driver2 = dlog\npush_notification_driver4 = ox:url=http://b/\n}\n")
	require.NoError(t, err)
	drivers, stopped := c.Drivers()
	require.Len(t, drivers, 1)
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
	assert.True(t, c.HasAttributeDict())
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
			c.Drivers()
			c.DoveAdm()
			c.IMAPMetadata()
			c.Plugins("lmtp")
		}
	})
}
