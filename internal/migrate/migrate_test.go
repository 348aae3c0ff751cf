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
}
