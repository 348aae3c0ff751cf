// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// example is a file of examples/dovecot that a test makes its own.
type example struct {
	t    *testing.T
	text string
}

func readExample(t *testing.T, name string) *example {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "examples", "dovecot", name))
	require.NoError(t, err)
	require.NotContains(t, string(text), "{{", "the test uses the file as a template")
	return &example{t, string(text)}
}

func (e *example) replace(old, with string) {
	e.t.Helper()
	require.Contains(e.t, e.text, old)
	e.text = strings.ReplaceAll(e.text, old, with)
}

// settingThatIsOff: prose has one blank after the #.
var settingThatIsOff = regexp.MustCompile(`(?m)^(\s*)#(\S|  )`)

// enable switches on the settings that are off: all of them, or the lines that
// contain one of the words.
func (e *example) enable(words ...string) {
	e.t.Helper()
	lines := strings.Split(e.text, "\n")
	for _, word := range words {
		require.Contains(e.t, e.text, word)
	}
	for i, line := range lines {
		wanted := len(words) == 0
		for _, word := range words {
			wanted = wanted || strings.Contains(line, word)
		}
		if wanted {
			lines[i] = settingThatIsOff.ReplaceAllString(line, "$1$2")
		}
	}
	e.text = strings.Join(lines, "\n")
}

// localize puts in the addresses, secrets and files of a test server.
func (e *example) localize(targets ...*endpoint) {
	e.t.Helper()
	if strings.Contains(e.text, "#doveadm_api_key =") {
		e.enable("#doveadm_api_key =")
	}
	e.replace("\ndoveadm_api_key =\n", "\ndoveadm_api_key = {{.APIKey}}\n")
	e.replace("port = 8080", "port = {{.DoveAdmPort}}")
	e.replace("192.0.2.10", "127.0.0.2")
	if strings.Contains(e.text, "https://") {
		e.replace("/etc/dovecot/push-ca.crt", "{{.SSLClientCAFile}}")
		e.replace("/etc/dovecot/push-client.crt", "{{.SSLClientCertFile}}")
		e.replace("/etc/dovecot/push-client.key", "{{.SSLClientKeyFile}}")
	}
	for i, target := range targets {
		host := []string{"push", "push2", "push3"}[i] + ".internal.example:8009"
		parsed, err := url.Parse(target.URL)
		require.NoError(e.t, err)
		e.replace("dovecot:SECRET@"+host, "dovecot:s3cret@"+parsed.Host)
	}
}

// TestExamplesLoad reads every example as an addition to a small configuration,
// as it stands and with all its settings on.
func TestExamplesLoad(t *testing.T) {
	for _, c := range []struct {
		file    string
		version Version
		base    string
		shows   string
	}{
		// The syntax of 2.2 is a part of that of 2.3.
		{"dovecot-2.2.conf", V23, "mail_location = maildir:~/Maildir\n", "push_notification_driver = ox:url=http://"},
		{"dovecot-2.3.conf", V23, "mail_location = maildir:~/Maildir\n", "timeout_msecs=1000 max_retries=1\n"},
		{"dovecot-2.4.conf", V24, "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\nmail_driver = maildir\nmail_path = ~/Maildir\n", "http_client_request_timeout = 1s\n"},
	} {
		t.Run(c.file, func(t *testing.T) {
			ca := newAuthority(t)
			ca.client()
			plain, full := readExample(t, c.file), readExample(t, c.file)
			full.enable()
			require.NotEqual(t, plain.text, full.text)
			for name, e := range map[string]*example{"plain": plain, "full": full} {
				e.localize()
				s := Start(t, Config{
					Version:           c.version,
					SSLClientCAFile:   ca.file("ca.crt"),
					SSLClientCertFile: ca.file("client.crt"),
					SSLClientKeyFile:  ca.file("client.key"),
				})
				var added bytes.Buffer
				settings := s.settings
				settings.ExtraConfig = e.text
				require.NoError(t, writeExtraConfig(&added, settings))
				require.NoError(t, os.WriteFile(filepath.Join(s.hostDir, "99-push.conf"), added.Bytes(), 0o600))
				base := c.base + "ssl = no\n!include 99-push.conf\n"
				require.NoError(t, os.WriteFile(filepath.Join(s.hostDir, "base.conf"), []byte(base), 0o600))

				var stdout, stderr strings.Builder
				cmd := s.installation.command(t.Context(), "doveconf", "-n", "-c", s.path("base.conf"))
				cmd.Stdout, cmd.Stderr = &stdout, &stderr
				require.NoError(t, cmd.Run(), "%s: %s", name, &stderr)
				require.Empty(t, stderr.String(), "%s: neither errors nor warnings", name)
				require.Contains(t, stdout.String(), c.shows, name)
				require.Equal(t, name == "full", strings.Contains(stdout.String(), "imap_metadata"), name)
			}
		})
	}
}

// TestExamplesRun starts Dovecot with the plugins, drivers, certificates and the
// DoveAdm settings of the examples, as they stand.
func TestExamplesRun(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		ca := newAuthority(t)
		target := newEndpoint(t, ca.server(false))
		e := readExample(t, "dovecot-"+string(version)+".conf")
		e.localize(target)
		s := Start(t, Config{Version: version, SSLClientCAFile: ca.file("ca.crt"), ExtraConfig: e.text})

		require.NoError(t, s.Register(DefaultUser))
		_, err := s.Deliver("", []string{DefaultUser}, mail("by LMTP"))
		require.NoError(t, err)
		require.NoError(t, s.DeliverLDA("", DefaultUser, mail("by LDA")))
		got := target.take()
		require.Len(t, got, 2)
		for i, subject := range []string{"by LMTP", "by LDA"} {
			require.Equal(t, "dovecot", got[i].Login)
			require.Equal(t, "s3cret", got[i].Password)
			require.Equal(t, notifyPath, got[i].Path)
			require.Equal(t, DefaultUser, got[i].User)
			require.Equal(t, subject, got[i].Subject)
		}

		require.ErrorContains(t, s.command("mailboxDelete", map[string]any{"user": DefaultUser, "mailbox": []string{"INBOX"}}), "unAuthorized")
		require.ErrorContains(t, setMetadata(t, s, "127.0.0.2"), "NO", "IMAP METADATA is off")
		require.NoError(t, s.Unregister(DefaultUser))
		_, err = s.Deliver("", []string{DefaultUser}, mail("to nobody"))
		require.NoError(t, err)
		require.Empty(t, target.take())
	})
}

// TestExamplesRunOptions does so with the settings that are off.
func TestExamplesRunOptions(t *testing.T) {
	t.Run("drivers and client certificate", func(t *testing.T) {
		EachVersion(t, func(t *testing.T, version Version) {
			ca := newAuthority(t)
			ca.client()
			targets := []*endpoint{newEndpoint(t, ca.server(true)), newEndpoint(t, ca.server(false))}
			want := []string{"3@1", DefaultUser}
			e := readExample(t, "dovecot-"+string(version)+".conf")
			if version == V23 {
				targets = append(targets, newEndpoint(t, ca.server(true)))
				want = []string{DefaultUser, DefaultUser, "3@1"}
				e.enable("push_notification_driver2", "push_notification_driver3", "ssl_client_cert", "ssl_client_key")
			} else {
				second := e.text[strings.Index(e.text, "#push_notification caddy2"):]
				second, _, _ = strings.Cut(second, "#}")
				e.replace(second+"#}", strings.ReplaceAll(second+"#}", "#", ""))
				e.enable("ssl_client_cert_file", "ssl_client_key_file", "ox_user_from_metadata")
			}
			e.localize(targets...)
			s := Start(t, Config{
				Version:           version,
				SSLClientCAFile:   ca.file("ca.crt"),
				SSLClientCertFile: ca.file("client.crt"),
				SSLClientKeyFile:  ca.file("client.key"),
				ExtraConfig:       e.text,
			})
			require.NoError(t, s.RegisterValue(DefaultUser, "user=3@1"))
			_, err := s.Deliver("", []string{DefaultUser}, mail("to all"))
			require.NoError(t, err)
			for i, target := range targets {
				require.Equal(t, want[i:i+1], users(target.take()), "driver %d", i+1)
			}
		})
	})
	t.Run("IMAP METADATA", func(t *testing.T) {
		EachVersion(t, func(t *testing.T, version Version) {
			ca := newAuthority(t)
			target := newEndpoint(t, ca.server(false))
			e := readExample(t, "dovecot-"+string(version)+".conf")
			remote := e.text[strings.Index(e.text, "#remote "):]
			e.replace(remote, strings.ReplaceAll(remote, "#", ""))
			e.localize(target)
			s := Start(t, Config{Version: version, SSLClientCAFile: ca.file("ca.crt"), ExtraConfig: e.text})
			require.ErrorContains(t, setMetadata(t, s, "127.0.0.1"), "NO", "from another machine")
			require.NoError(t, setMetadata(t, s, "127.0.0.2"))
			_, err := s.Deliver("", []string{DefaultUser}, mail("Hello"))
			require.NoError(t, err)
			require.Len(t, target.take(), 1)
		})
	})
}
