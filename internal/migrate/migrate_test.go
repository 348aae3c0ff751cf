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

var update = flag.Bool("update", false, "write the golden files again")

// readApache reads files, the first of which is given to the command.
func readApache(t testing.TB, text string, more ...string) (*Source, error) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "apache.conf"), []byte(text), 0o600))
	for i := 0; i < len(more); i += 2 {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, more[i])), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, more[i]), []byte(more[i+1]), 0o600))
	}
	s := new(Source)
	err := s.ReadApache(filepath.Join(dir, "apache.conf"))
	return s, err
}

func text(t testing.TB, s *Source) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, s.Write(&b))
	return b.String()
}

// The golden files are read by a person once. Tests of the command load them
// into Caddy, and compare them with an Apache.
func TestGolden(t *testing.T) {
	t.Chdir("testdata")
	for name, c := range map[string]struct {
		apache     []string
		properties string
	}{
		"article":    {apache: []string{"article.conf"}},
		"complete":   {apache: []string{"complete.conf"}, properties: "etc"},
		"two-files":  {apache: []string{"two-files/proxy.conf", "two-files/site.conf"}},
		"include":    {apache: []string{"include/site.conf"}},
		"valid-user": {apache: []string{"valid-user.conf"}},
		"define":     {apache: []string{"define.conf"}},
		"failover":   {apache: []string{"failover.conf"}},
		"traps":      {apache: []string{"traps.conf"}},
		"utf8":       {properties: "utf8"},
	} {
		t.Run(name, func(t *testing.T) {
			s := new(Source)
			if c.apache != nil {
				require.NoError(t, s.ReadApache(c.apache...))
			}
			if c.properties != "" {
				require.NoError(t, s.ReadProperties(os.DirFS(c.properties)))
			}
			got := text(t, s)
			for _, secret := range []string{"secret\n", "top-secret", "dove-secret", "schlüssel"} {
				require.NotContains(t, got, secret)
			}
			golden := name + ".caddyfile"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o600))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), got)
		})
	}
}

// Who comes in is never more than whom Apache lets in.
func TestAccess(t *testing.T) {
	for name, c := range map[string]struct{ rules, allow, left string }{
		"2.2, the usual":          {"Order Deny,Allow\nDeny from all\nAllow from 10.0.0.1 192.168.", "10.0.0.1 192.168.0.0/16", ""},
		"2.2, Order with a blank": {"Order deny, allow\nDeny from all\nAllow from 10.0.0.1", "10.0.0.1", ""},
		"2.2, allow first":        {"Order Allow,Deny\nAllow from 10.0.0.0/8\nDeny from 10.128.0.0/9", "10.0.0.0/9", ""},
		"2.2, allow, deny all":    {"Order Allow,Deny\nAllow from 10.0.0.1\nDeny from all", "", "nobody may report"},
		"2.2, no Deny":            {"Order Deny,Allow\nAllow from 10.0.0.1", "", "lets everybody report"},
		"2.2, Allow from all":     {"Order Deny,Allow\nDeny from all\nAllow from all", "", "lets everybody report"},
		"2.2, a host out":         {"Deny from a.example\nAllow from 10.0.0.1", "10.0.0.1", "so it keeps everybody out"},
		"2.2, a variable":         {"Deny from all\nAllow from env=inside", "", "env=inside is not taken over"},
		"2.4":                     {"Require ip 10.0.0.1 192.168.1 10.2.0.0/255.255.0.0\nRequire local", "10.0.0.1 10.2.0.0/16 127.0.0.0/8 192.168.1.0/24 ::1", "Require local"},
		"2.4, any":                {"<RequireAny>\nRequire ip 10.0.0.1\nRequire ip 10.0.0.2\n</RequireAny>", "10.0.0.1 10.0.0.2", ""},
		"2.4, all denied":         {"Require all denied", "", "nobody may report"},
		"2.4, all granted":        {"Require all granted", "", "lets everybody report"},
		"2.4, a host":             {"Require host example.com\nRequire ip 10.0.0.1", "10.0.0.1", "Require host example.com is not understood"},
		"2.4, all of a host":      {"<RequireAll>\nRequire host example.com\nRequire ip 10.0.0.1\n</RequireAll>", "", "lets nobody in"},
		"2.4, not a host":         {"<RequireAll>\nRequire not host example.com\nRequire ip 10.0.0.1\n</RequireAll>", "", "lets nobody in"},
		"2.4, all":                {"<RequireAll>\nRequire ip 10\nRequire not ip 10.0.0.0/9\n</RequireAll>", "10.128.0.0/9", ""},
		"2.4, none":               {"<RequireAll>\nRequire all granted\n<RequireNone>\nRequire ip 128.0.0.0/1\nRequire ip ::/0\n</RequireNone>\nRequire not ip 64.0.0.0/2 32.0.0.0/3 16.0.0.0/4 8.0.0.0/5\n</RequireAll>", "0.0.0.0/5", ""},
		"password and networks":   {"<RequireAll>\nRequire valid-user\nRequire ip 10.0.0.1\n</RequireAll>", "10.0.0.1", "password"},
		"password or networks":    {"Require valid-user\nRequire ip 10.0.0.1", "10.0.0.1", "password"},
		"password alone":          {"Require valid-user", "", "only a password keeps people out"},
		"password, some out":      {"Deny from 10.0.0.1\nRequire user x", "", "only a password keeps people out"},
		"password and everybody":  {"<RequireAll>\nRequire all granted\nRequire user x\n</RequireAll>", "", "only a password keeps people out"},
		"2.2 and password":        {"Deny from all\nAllow from 10.0.0.1\nRequire valid-user", "10.0.0.1", "password"},
		"both":                    {"Order Deny,Allow\nDeny from all\nAllow from 10.0.0.0/24\nRequire ip 10.0.0.2", "10.0.0.2", ""},
		"nothing":                 {"", "", "lets everybody report"},
		"limit":                   {"Require ip 10.0.0.1\n<Limit GET>\nRequire all granted\n</Limit>", "", "nobody comes in there"},
		"if":                      {"Require ip 10.0.0.1\n<If \"true\">\nRequire all denied\n</If>", "", "nobody comes in there"},
		"a mask with holes":       {"Deny from all\nAllow from 10.0.0.0/255.0.255.0 10.1.0.0/255.255.254.0", "10.1.0.0/23", "10.0.0.0/255.0.255.0 is not taken over"},
		"partial with mask":       {"Deny from all\nAllow from 10.1/16", "10.1.0.0/16", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := readApache(t, "ServerName a.example\nProxyPreserveHost On\n<Location /preliminary>\n"+c.rules+"\n</Location>\nProxyPass /preliminary http://ox1:8009/preliminary\n")
			require.NoError(t, err)
			assert.Equal(t, c.allow, s.Apache.Allow)
			left := strings.Join(s.Left, "\n")
			if c.left == "" {
				assert.Empty(t, left)
			} else {
				assert.Contains(t, left, c.left)
			}
			assert.Equal(t, "ox1:8009", s.Apache.Upstreams)
		})
	}
}

const proxied = "ServerName a.example\nProxyPass /preliminary http://ox1:8009/preliminary\n"

// What changes the meaning of everything else is an error.
func TestApacheThatIsNotUnderstood(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "nothing in these files proxies",
		"<Location /other>\n</Location>": "nothing in these files proxies",
		"ProxyPass / !":                  "nothing in these files proxies",
		"<Location /preliminary>":        "apache.conf:1: <location> is not closed",
		"</Location>":                    "apache.conf:1: </location> closes nothing",
		"<VirtualHost>\n</Location>":     "apache.conf:2: </location> closes nothing",
		"<>\n":                           "without a name",
		proxied + "RemoteIPHeader X-Forwarded-For":                                "apache.conf:3: RemoteIPHeader X-Forwarded-For: it decides whose address Apache looks at",
		proxied + "RemoteIPHeader X-Real-IP":                                      "client_ip_headers X-Real-IP and trusted_proxies_strict",
		proxied + "RemoteIPInternalProxy 10.0.0.1 10.0.0.2":                       "trusted_proxies static 10.0.0.1 10.0.0.2 and trusted_proxies_strict",
		proxied + "RemoteIPTrustedProxyList conf/proxies":                         "the addresses in conf/proxies",
		"<VirtualHost *:80>\n" + proxied + "RPAFenable On\n</VirtualHost>":        "apache.conf:4: RPAFenable On",
		"<IfModule mod_remoteip.c>\nRemoteIPProxyProtocol On\n</IfModule>":        "apache.conf:2: RemoteIPProxyProtocol On: it decides whose address Apache looks at, which is not taken over: leave it out here; in the Caddyfile, write proxy_protocol",
		"ProxyPass /preliminary balancer://apps/preliminary":                      "balancer://apps are in none of these files",
		"ProxyPass /preliminary http://${NODE}/preliminary":                       "${NODE} is defined in none of these files",
		"<Proxy balancer://a>\nBalancerMember ${NODE}\n</Proxy>\n" + proxied:      "${NODE} is defined in none of these files",
		proxied + "<LocationMatch (?<=x)y>\nRequire all denied\n</LocationMatch>": "this pattern is not understood",
		proxied + "SSLVerifyClient require":                                       "who has no certificate",
		"Include missing.conf":                                                    "apache.conf:1: there is no file missing.conf",
		"Include apache.conf":                                                     "include each other",
		proxied + "<IfFile /x>\n</IfFile>":                                        "resolve it by hand",
		proxied + "Use macro":                                                     "macros are not understood",
	} {
		_, err := readApache(t, text)
		require.ErrorContains(t, err, want, text)
	}
}

// Files that include each other read as if they were one.
func TestApacheThatIncludes(t *testing.T) {
	s, err := readApache(t, "ServerName a.example\nInclude conf/*.conf\nIncludeOptional missing/*.conf\n",
		"conf/a.conf", "Define NODE ox1:8009\nInclude \"more\"\n",
		"conf/b.conf", "ProxyPass /preliminary ${TARGET}\n",
		"more/deep/x.conf", "Define TARGET http://${NODE}/preliminary\n<IfDefine TARGET>\nProxyPass /ajax http://ox2:8009/ajax\n</IfDefine>\n"+
			"<IfDefine OTHER>\nDefine TARGET x\n</IfDefine>\n")
	require.NoError(t, err)
	assert.Equal(t, "ox1:8009", s.Apache.Upstreams)
	assert.Contains(t, text(t, s), "reverse_proxy ox2:8009")
	left := strings.Join(s.Left, "\n")
	assert.Contains(t, left, "there is no file missing/*.conf")
	assert.Contains(t, left, "x.conf:5: <IfDefine OTHER> and what is in it is left out")
}

// Every directive that is not known as harmless is named, wherever it stands.
func TestApacheNamesWhatItDoesNotKnow(t *testing.T) {
	const unknown = "SomethingNew a b"
	for _, c := range []string{
		unknown + "\n" + proxied,
		"<VirtualHost *:80>\n" + proxied + unknown + "\n</VirtualHost>",
		proxied + "<Location /preliminary>\n" + unknown + "\n</Location>",
		proxied + "<Location /elsewhere>\n" + unknown + "\n</Location>",
		proxied + "<LocationMatch x>\n" + unknown + "\n</LocationMatch>",
		proxied + "<Proxy *>\n" + unknown + "\n</Proxy>",
		proxied + "<IfModule mod_x.c>\n" + unknown + "\n</IfModule>",
	} {
		s, err := readApache(t, c)
		require.NoError(t, err, c)
		assert.Regexp(t, `apache\.conf:\d+: SomethingNew a b is not taken over`, strings.Join(s.Left, "\n"), c)
	}
}

// A module that a whole configuration does not load has no say.
func TestApacheWithModules(t *testing.T) {
	s, err := readApache(t, "LoadModule proxy_module x.so\n"+proxied+
		"<IfModule mod_proxy.c>\nProxyPass /a http://a/a\n</IfModule>\n<IfModule mod_other.c>\nProxyPass /b http://b/b\n</IfModule>\n"+
		"<IfModule !other_module>\nProxyPass /c http://c/c\n</IfModule>\n<IfVersion >= 2.4>\nProxyPass /d http://d/d\n</IfVersion>\n")
	require.NoError(t, err)
	for node, want := range map[string]bool{"a:80": true, "b:80": false, "c:80": true, "d:80": true} {
		assert.Equal(t, want, strings.Contains(text(t, s), "reverse_proxy "+node), node)
	}
}

// No name is made up, and none but those of the configuration is used.
func TestApacheWithNames(t *testing.T) {
	s, err := readApache(t, "<VirtualHost *:443>\nServerName https://mail.example.com:443\nServerAlias webmail.example.com:8080\n"+
		"SSLEngine on\nProxyPass /preliminary http://ox1/preliminary\n</VirtualHost>\n")
	require.NoError(t, err)
	assert.Contains(t, text(t, s), "\nhttps://mail.example.com, https://webmail.example.com {\n")
	s, err = readApache(t, "ProxyPass /preliminary http://ox1/preliminary\n")
	require.NoError(t, err)
	assert.NotContains(t, text(t, s), "example")
	assert.Contains(t, text(t, s), "\nhttp://127.0.0.1:8008 {\n\tbind 127.0.0.1\n")
	assert.Contains(t, strings.Join(s.Left, "\n"), "no ServerName")
}

// A group of nodes belongs to its virtual host, also where another one has the
// same name.
func TestApacheWithTwoBalancersOfOneName(t *testing.T) {
	host := func(name, node string) string {
		return "<VirtualHost *:80>\nServerName " + name + "\n<Proxy balancer://apps>\nBalancerMember http://" + node + ":8009\n</Proxy>\n" +
			"ProxyPass /preliminary balancer://apps/preliminary\n</VirtualHost>\n"
	}
	s, err := readApache(t, "<Proxy balancer://apps>\nBalancerMember http://c:8009\n</Proxy>\n"+host("a.example", "a")+host("b.example", "b"))
	require.NoError(t, err)
	got := text(t, s)
	assert.Contains(t, got, "reverse_proxy a:8009 {")
	assert.Contains(t, got, "reverse_proxy b:8009 {")
	assert.NotContains(t, got, "c:8009")
}

// A line that goes on in an empty one is an empty one.
func TestApacheWithContinuedLines(t *testing.T) {
	s, err := readApache(t, "\\\n\n<Location /preliminary>\n\\\n  \nRequire \\\n ip 10.0.0.1\nProxyPass http://ox1/preliminary\n</Location>\n\\")
	require.NoError(t, err)
	require.Equal(t, "10.0.0.1", s.Apache.Allow)
}

// What the options of the nodes do is done by Caddy.
func TestApacheNodes(t *testing.T) {
	for name, c := range map[string]struct {
		members string
		want    []string
		not     []string
		left    string
	}{
		"one":       {"BalancerMember http://a:8009 retry=60 route=A", []string{"reverse_proxy a:8009\n"}, []string{"fail_duration", "lb_"}, ""},
		"two":       {"BalancerMember http://a:8009 retry=60\nBalancerMember http://b:8009 retry=60", []string{"lb_policy round_robin\n", "lb_try_duration 11s\n", "fail_duration 2s\n"}, []string{"60s"}, ""},
		"slow":      {"BalancerMember http://a:8009 connectiontimeout=20\nBalancerMember http://b:8009", []string{"lb_try_duration 45s\n", "dial_timeout 20s\n"}, nil, ""},
		"weights":   {"BalancerMember http://a:8009 loadfactor=3\nBalancerMember http://b:8009", []string{"lb_policy weighted_round_robin 3 1\n"}, nil, ""},
		"standby":   {"BalancerMember http://a:8009\nBalancerMember http://b:8009 status=+H", []string{"reverse_proxy a:8009 b:8009 {", "lb_policy first\n"}, nil, ""},
		"next set":  {"BalancerMember http://b:8009 lbset=1\nBalancerMember http://a:8009", []string{"reverse_proxy a:8009 b:8009 {", "lb_policy first\n"}, nil, ""},
		"standbys":  {"BalancerMember http://a:8009\nBalancerMember http://b:8009\nBalancerMember http://c:8009 status=H", []string{"reverse_proxy a:8009 b:8009 {"}, []string{"b:8009 c:8009"}, "knows no hot standby"},
		"off":       {"BalancerMember http://a:8009\nBalancerMember http://b:8009 status=+D", []string{"reverse_proxy a:8009\n"}, nil, "b:8009 is switched off"},
		"on again":  {"BalancerMember http://a:8009 status=-D", []string{"reverse_proxy a:8009\n"}, nil, ""},
		"ajp":       {"BalancerMember http://a:8009\nBalancerMember ajp://b:8009", []string{"reverse_proxy a:8009\n"}, nil, "HTTP connector"},
		"sticky":    {"BalancerMember http://a:8009\nBalancerMember http://b:8009 loadfactor=2\nProxySet stickysession=X", []string{"lb_policy cookie {\n", "fallback weighted_round_robin 1 2\n"}, nil, "a cookie of its own"},
		"busyness":  {"BalancerMember http://a:8009\nBalancerMember http://b:8009\nProxySet lbmethod=bybusyness", []string{"lb_policy least_conn\n"}, nil, ""},
		"bytraffic": {"BalancerMember http://a:8009\nBalancerMember http://b:8009\nProxySet lbmethod=bytraffic", []string{"lb_policy round_robin\n"}, nil, "no counterpart"},
		"unknown":   {"BalancerMember http://a:8009 newoption=1", []string{"reverse_proxy a:8009\n"}, nil, "newoption=1 is not taken over"},
		"https":     {"BalancerMember https://a", []string{"reverse_proxy https://a:443\n"}, nil, "verifies its certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := readApache(t, "ServerName a.example\nProxyPreserveHost On\n<Proxy balancer://apps>\n"+c.members+
				"\n</Proxy>\n<Location /preliminary>\nRequire ip 10.0.0.1\nProxyPass balancer://apps/preliminary\n</Location>\n")
			require.NoError(t, err)
			got := text(t, s)
			for _, want := range c.want {
				assert.Contains(t, got, want)
			}
			for _, not := range c.not {
				assert.NotContains(t, got, not)
			}
			if left := strings.Join(s.Left, "\n"); c.left == "" {
				assert.Empty(t, left)
			} else {
				assert.Contains(t, left, c.left)
			}
		})
	}
}

func FuzzApache(f *testing.F) {
	for _, name := range []string{"article", "complete", "traps", "valid-user", "define", "failover"} {
		text, err := os.ReadFile(filepath.Join("testdata", name+".conf"))
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Fuzz(func(t *testing.T, text string) {
		for line := range strings.SplitSeq(strings.ToLower(text), "\n") {
			if strings.HasPrefix(strings.TrimSpace(line), "include") || strings.HasSuffix(line, "\\") {
				t.Skip("it would read files of this machine")
			}
		}
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

	for text, want := range map[string]string{
		"com.openexchange.dovecot.doveadm.apiSecret={{env HUSH}}":         "a.properties: com.openexchange.dovecot.doveadm.apiSecret: it has a variable",
		"com.openexchange.rest.services.basic-auth.login=hush\xfc":        "a.properties: com.openexchange.rest.services.basic-auth.login: it is not in UTF-8",
		"com.openexchange.other={{env HUSH}}\nother=\xfc":                 "there is neither",
		"com.openexchange.dovecot.doveadm.endpoints=http://{{ HOST:h }}/": "doveadm.endpoints: it has a variable",
	} {
		err := new(Source).ReadProperties(file(text))
		require.ErrorContains(t, err, want)
		require.NotContains(t, strings.ToLower(err.Error()), "hush")
	}

	s = new(Source)
	err := s.ReadProperties(file("com.openexchange.dovecot.doveadm.apiSecret=hush\\u12"))
	require.ErrorContains(t, err, "a.properties: ")
	require.NotContains(t, err.Error(), "hush")
}

// An empty value has its default, and what a Caddyfile cannot express is
// reported.
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
