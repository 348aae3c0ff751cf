// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

func readApache(t *testing.T, text string) (*Source, error) {
	t.Helper()
	s := new(Source)
	return s, s.ReadApache("apache.conf", strings.NewReader(text))
}

// The golden files are read by a person once, and loaded by Caddy in the
// tests of the command.
func TestGolden(t *testing.T) {
	for name, properties := range map[string]string{"article": "", "complete": "etc"} {
		t.Run(name, func(t *testing.T) {
			file, err := os.Open(filepath.Join("testdata", name+".conf"))
			require.NoError(t, err)
			defer file.Close()
			s := new(Source)
			require.NoError(t, s.ReadApache(name+".conf", file))
			if properties != "" {
				require.NoError(t, s.ReadProperties(os.DirFS(filepath.Join("testdata", properties))))
			}
			var b strings.Builder
			require.NoError(t, s.Write(&b))
			require.NotContains(t, b.String(), "secret\n")
			require.NotContains(t, b.String(), "top-secret")
			require.NotContains(t, b.String(), "dove-secret")
			golden := filepath.Join("testdata", name+".caddyfile")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), b.String())
		})
	}
}

func TestAccess(t *testing.T) {
	for name, c := range map[string]struct {
		rules     string
		allow     string
		everybody bool
		left      string
	}{
		"2.2, the usual":          {"Order Deny,Allow\nDeny from all\nAllow from 10.0.0.1 192.168.", "10.0.0.1 192.168.", false, ""},
		"2.2, Order with a blank": {"Order deny, allow\nDeny from all\nAllow from 10.0.0.1", "10.0.0.1", false, ""},
		"2.2, allow first":        {"Order Allow,Deny\nAllow from 10.0.0.0/8\nDeny from 10.1.0.0/16", "10.0.0.0/8", false, "knows no exceptions"},
		"2.2, allow, deny all":    {"Order Allow,Deny\nAllow from 10.0.0.1\nDeny from all", "", false, "lets nobody in"},
		"2.2, no Deny":            {"Order Deny,Allow\nAllow from 10.0.0.1", "10.0.0.1", true, "lets everybody in"},
		"2.2, Allow from all":     {"Order Deny,Allow\nDeny from all\nAllow from all", "", true, "lets everybody in"},
		"2.2, only some out":      {"Deny from 10.0.0.1", "", true, "keeps only these out"},
		"2.2, a variable":         {"Deny from all\nAllow from env=inside", "", false, "env=inside is not taken over"},
		"2.4":                     {"Require ip 10.0.0.1 192.168.1 10.2.0.0/255.255.0.0\nRequire local", "10.0.0.1 10.2.0.0/16 127.0.0.0/8 192.168.1 ::1", false, ""},
		"2.4, any":                {"<RequireAny>\nRequire ip 10.0.0.1\nRequire ip 10.0.0.2\n</RequireAny>", "10.0.0.1 10.0.0.2", false, ""},
		"2.4, all denied":         {"Require all denied", "", false, "lets nobody in"},
		"2.4, all granted":        {"Require all granted", "", true, "lets everybody in"},
		"2.4, a host":             {"Require host example.com\nRequire ip 10.0.0.1", "10.0.0.1", false, "Require host example.com is not taken over"},
		"2.4, not":                {"<RequireAll>\nRequire ip 10\n</RequireAll>", "", true, "requireall is not understood"},
		"both":                    {"Order Deny,Allow\nDeny from all\nAllow from 10.0.0.1\nRequire ip 10.0.0.2", "10.0.0.2", false, "only Require"},
		"nothing":                 {"", "", true, "lets everybody in"},
		"a mask with holes":       {"Deny from all\nAllow from 10.0.0.0/255.0.255.0 10.1.0.0/255.255.254.0", "10.1.0.0/23", false, "10.0.0.0/255.0.255.0 is not taken over"},
		"partial with mask":       {"Deny from all\nAllow from 10.1/16", "10.1.0.0/16", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := readApache(t, "<Location /preliminary>\n"+c.rules+"\n</Location>\nProxyPass /preliminary http://ox1:8009/preliminary\n")
			require.NoError(t, err)
			assert.Equal(t, c.allow, strings.Join(s.Apache.Allow, " "))
			assert.Equal(t, c.everybody, s.Apache.Everybody)
			left := strings.Join(s.Left, "\n")
			if c.left == "" {
				assert.Empty(t, left)
			} else {
				assert.Contains(t, left, c.left)
			}
			assert.Equal(t, "ox1:8009", s.Apache.Upstreams())
		})
	}
}

func TestApacheThatIsNotUnderstood(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "there is no <Location /preliminary>",
		"<Location /other>\n</Location>": "there is no <Location /preliminary>",
		"<Location /preliminary>":        "apache.conf:1: <location> is not closed",
		"</Location>":                    "apache.conf:1: </location> closes nothing",
		"<VirtualHost>\n</Location>":     "apache.conf:2: </location> closes nothing",
		"<>\n":                           "without a name",
	} {
		s, err := readApache(t, text)
		require.ErrorContains(t, err, want, text)
		require.Nil(t, s.Apache)
	}
}

// A line that goes on in an empty one is an empty one.
func TestApacheWithContinuedLines(t *testing.T) {
	s, err := readApache(t, "\\\n\n<Location /preliminary>\n\\\n  \nRequire \\\n ip 10.0.0.1\n</Location>\n\\")
	require.NoError(t, err)
	require.Equal(t, []string{"10.0.0.1"}, s.Apache.Allow)
}

// Apache takes scheme and port in a ServerName.
func TestApacheWithNames(t *testing.T) {
	s, err := readApache(t, "<VirtualHost *:443>\nServerName https://mail.example.com:443\nServerAlias webmail.example.com:8080\n"+
		"<Location /preliminary>\nRequire local\n</Location>\n</VirtualHost>\n")
	require.NoError(t, err)
	require.Equal(t, []string{"mail.example.com", "webmail.example.com"}, s.Apache.Names)
}

func FuzzApache(f *testing.F) {
	for _, name := range []string{"article", "complete"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".conf"))
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := readApache(t, text)
		if err == nil {
			require.NoError(t, s.Write(new(strings.Builder)))
		}
	})
}

func TestProperties(t *testing.T) {
	file := func(text string) fstest.MapFS { return fstest.MapFS{"a.properties": {Data: []byte(text)}} }

	s := new(Source)
	require.ErrorContains(t, s.ReadProperties(file("x=y")), "there is neither")

	s = new(Source)
	require.NoError(t, s.ReadProperties(file("com.openexchange.dovecot.doveadm.endpoints=http://u:pw@h/doveadm/v1,http://h2/doveadm/v1")))
	require.Nil(t, s.Properties.DoveAdm)
	require.Contains(t, strings.Join(s.Left, "\n"), "not enabled")
	require.NotContains(t, strings.Join(s.Left, "\n"), "pw")

	s = new(Source)
	require.NoError(t, s.ReadProperties(file("com.openexchange.rest.services.basic-auth.login=ox")))
	require.Contains(t, strings.Join(s.Left, "\n"), "answers 403 to everything")

	s = new(Source)
	err := s.ReadProperties(file("com.openexchange.dovecot.doveadm.apiSecret=hush\\u12"))
	require.ErrorContains(t, err, "a.properties: ")
	require.NotContains(t, err.Error(), "hush")
}

// What is empty has its default, and what a Caddyfile cannot say is told.
func TestPropertiesWithoutUse(t *testing.T) {
	const prefix = "com.openexchange.dovecot.doveadm."
	s := new(Source)
	require.NoError(t, s.ReadProperties(fstest.MapFS{"a.properties": {Data: []byte(
		prefix + "enabled=true\n" + prefix + "endpoints=http://h/doveadm/v1\n" +
			prefix + "endpoints.totalConnections=\n" + prefix + "endpoints.maxConnectionsPerRoute=-1\n" +
			prefix + "endpoints.readTimeout=0\n" + prefix + "endpoints.checkInterval=1\\n}\n" +
			"com.openexchange.rest.services.basic-auth.login=open xchange\n" +
			"com.openexchange.rest.services.basic-auth.password=x\n",
	)}}))
	assert.Equal(t, [][2]string{{"max_connections_per_route", "-1"}}, s.Properties.DoveAdm.Options)
	left := strings.Join(s.Left, "\n")
	assert.Contains(t, left, "readTimeout is less than 1")
	assert.Contains(t, left, "checkInterval is no number")
	var b strings.Builder
	require.NoError(t, s.Write(&b))
	assert.Contains(t, b.String(), `credentials "open xchange" {env.OX_PASSWORD}`)
}
