// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecotconfig

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

func render(t *testing.T, s Settings) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, Write(&b, s))
	return b.String()
}

func parse(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

// report is what the endpoint of a test got.
type report struct{ login, password, user, subject string }

// endpoint takes the reports of Dovecot. It gives its certificate in a file.
func endpoint(t *testing.T) (u *url.URL, caFile string, reports <-chan report) {
	t.Helper()
	got := make(chan report, 10)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ User, Subject string }
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
		login, password, _ := r.BasicAuth()
		got <- report{login, password, body.User, body.Subject}
		_, _ = w.Write([]byte(`{"success":true}`))
	}))
	t.Cleanup(server.Close)
	caFile = filepath.Join(t.TempDir(), "ca.crt")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(caFile, block, 0o644))
	return parse(t, server.URL+"/preliminary/http-notify/v1/notify"), caFile, got
}

// A real Dovecot loads what is written and does what it says: it reports a
// mail with credentials that have every character in them, and the DoveAdm
// API registers users and nothing else.
func TestDovecotDoesWhatIsWritten(t *testing.T) {
	const password = `p@ss:w/ö"r\d #%$ {x}&=+?`
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		u, caFile, reports := endpoint(t)
		u.User = url.UserPassword("dove@cot", password)
		text := render(t, Settings{
			Version: Version(version), URL: u, CAFile: "@CA@", DoveAdm: "127.0.0.1:@PORT@", DoveAdmKey: "@KEY@", AllUsers: true, Actions: true,
		})
		text = strings.NewReplacer(`"@CA@"`, "{{.SSLClientCAFile}}", "@CA@", "{{.SSLClientCAFile}}",
			"@PORT@", "{{.DoveAdmPort}}", "@KEY@", "{{.APIKey}}").Replace(text)
		s := dovecottest.Start(t, dovecottest.Config{Version: version, SSLClientCAFile: caFile, ExtraConfig: text})
		require.NoError(t, s.Register(dovecottest.DefaultUser))
		_, err := s.Deliver("", []string{dovecottest.DefaultUser}, []byte("Subject: by LMTP\r\n\r\nHello\r\n"))
		require.NoError(t, err)
		require.NoError(t, s.DeliverLDA("", dovecottest.DefaultUser, []byte("Subject: by LDA\r\n\r\nHello\r\n")))
		for _, subject := range []string{"by LMTP", "by LDA"} {
			require.Equal(t, report{"dove@cot", password, dovecottest.DefaultUser, subject}, <-reports)
		}
		require.Contains(t, doveAdm(t, s, `[["user",{"userMask":["*"]},"t"]]`), dovecottest.DefaultUser)
		require.Contains(t, doveAdm(t, s, `[["flagsAdd",{"user":"`+dovecottest.DefaultUser+`","flag":["\\Seen"],"query":["mailbox","INBOX"]},"t"]]`), "doveadmResponse")
		require.Contains(t, doveAdm(t, s, `[["mailboxDelete",{"user":"`+dovecottest.DefaultUser+`","mailbox":["INBOX"]},"t"]]`), "unAuthorized")
	})
}

func doveAdm(t *testing.T, s *dovecottest.Server, commands string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.DoveAdmURL(), strings.NewReader(commands))
	require.NoError(t, err)
	req.Header.Set("Authorization", "X-Dovecot-API "+base64.StdEncoding.EncodeToString([]byte(s.APIKey())))
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var answer any
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	text, err := json.Marshal(answer)
	require.NoError(t, err)
	return string(text)
}

// Every combination is loaded without an error or a warning.
func TestDovecotLoadsEveryCombination(t *testing.T) {
	for _, version := range []Version{V22, V23, V24} {
		t.Run(string(version), func(t *testing.T) {
			real := dovecottest.V23 // the syntax of 2.2 is a part of that of 2.3
			if version == V24 {
				real = dovecottest.V24
			}
			for _, s := range []Settings{
				{URL: parse(t, "http://dovecot@192.0.2.1:8009/preliminary/http-notify/v1/notify")},
				{URL: parse(t, "http://push.example.com/n?x=%20y"), DoveAdm: "127.0.0.1:8080", DoveAdmKey: `a "b" \c # d`},
				{URL: parse(t, "http://push.example.com/n"), UserFromMetadata: true},
				{
					URL:      parse(t, "http://push.example.com/n"),
					IMAPFrom: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::1/128")},
				},
			} {
				s.Version = version
				server := dovecottest.Start(t, dovecottest.Config{Version: real, ExtraConfig: withPorts(render(t, s))})
				assert.NotContains(t, server.Log(), "Warning")
				require.NoError(t, server.Close())
			}
		})
	}
}

// withPorts lets several servers listen on one machine.
func withPorts(text string) string {
	return strings.ReplaceAll(strings.ReplaceAll(text, "port = 8080", "port = {{.DoveAdmPort}}"), "{x}", "")
}

func TestMistakes(t *testing.T) {
	u := parse(t, "https://push.example.com/n")
	for want, s := range map[string]Settings{
		`no configuration for Dovecot "2.1"`: {Version: "2.1", URL: u},
		"must be http:// or https://":        {Version: V23},
		"must be http:// or https:// with":   {Version: V23, URL: parse(t, "ftp://x/")},
		"never accepts a certificate":        {Version: V22, URL: u},
		"cannot have a fragment":             {Version: V23, URL: parse(t, "http://x/#y")},
		"must be host:port":                  {Version: V23, URL: u, DoveAdm: "8080"},
		"needs a key":                        {Version: V23, URL: u, DoveAdm: "127.0.0.1:8080"},
		"give a name":                        {Version: V24, URL: parse(t, "https://[2001:db8::1]:8009/n")},
		"has no path":                        {Version: V23, URL: parse(t, "https://push.example.com")},
		"needs its key":                      {Version: V23, URL: u, ClientCert: "c"},
		"report in the name of others":       {Version: V24, URL: u, UserFromMetadata: true, IMAPFrom: []netip.Prefix{{}}},
		"line break":                         {Version: V24, URL: u, DoveAdmKey: "a\nb"},
	} {
		var b strings.Builder
		require.ErrorContains(t, Write(&b, s), want)
		require.Empty(t, b.String())
	}
}

// Nothing of a mailbox can be changed unless that is asked for.
func TestCommandsForActions(t *testing.T) {
	for _, version := range []Version{V22, V23, V24} {
		for _, actions := range []bool{false, true} {
			text := render(t, Settings{Version: version, URL: parse(t, "http://dovecot@h/n"), DoveAdm: "127.0.0.1:8080", DoveAdmKey: "key", Actions: actions})
			for _, command := range []string{"flags add", "flags remove", "move"} {
				require.Equal(t, actions, strings.Contains(text, command), command)
			}
		}
	}
}

// A password that was not given is marked. A key of DoveAdm, which opens the mail
// of everybody, is never made up, and no DoveAdm is configured without.
func TestSecretsNotGiven(t *testing.T) {
	for _, version := range []Version{V22, V23, V24} {
		for _, fromMetadata := range []bool{false, true} {
			text := render(t, Settings{Version: version, URL: parse(t, "http://dovecot@h/n"), UserFromMetadata: fromMetadata})
			require.Contains(t, text, "http://dovecot:SECRET@h/n")
			require.NotContains(t, text, "doveadm_")
			require.NotContains(t, text, "service doveadm")
			require.Equal(t, !fromMetadata, strings.Contains(text, "dovecot-attributes"))
		}
	}
}
