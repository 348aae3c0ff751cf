// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostile are URLs that must not be requested, by why.
var hostile = map[Reason][]string{
	Scheme: {
		"", "/", "push", "push.example.com", "push.example.com:443", "//push.example.com/x", "/push.example.com",
		"http://push.example.com/x", "ftp://push.example.com/x", "file:///etc/passwd", "gopher://push.example.com/x",
		"javascript:alert(1)", "data:text/plain,x", "unix:///run/docker.sock", "ws://push.example.com/", "httpss://push.example.com/",
		"localhost:443", "127.0.0.1", "x://[::1]/",
	},
	Malformed: {
		"https:push.example.com", "https://", "https:///push.example.com", "https:/push.example.com", "https://push.example.com:/",
		"https://push.example.com:x/", "https://push.example.com:-1/", "https://push.example.com/x#fragment", "https://push.example.com#@127.0.0.1/",
		" https://push.example.com/", "https://push.example.com/ x", "https://push.example.com/\r\nX: y", "https://push.example.com\t/", "https://push.example.com/\x00",
		`https:\\127.0.0.1\x`, `https://push.example.com\@127.0.0.1/`, `https://push.example.com/\..\x`, "https://127.0.0.1%2f.example.com/", "https://%31%32%37.0.0.1/",
		"https://push.exam\u200bple.com/", "https://localhost\u3002/", "https://\uff11\uff12\uff17.0.0.1/", "https://\u24db\u24de\u24d2alhost/", "https://p\u00fcsh.example/", "https://pu\u0455h.example.com/",
		"https://[::1/", "https://::1/", "https://[::1]x/", "https://[fe80::1%25eth0]/", "https://[fe80::1%eth0]/", "https://[push.example.com]/",
		"https://push.example.com/" + strings.Repeat("x", maxURL),
	},
	Userinfo: {
		"https://user@push.example.com/", "https://user:password@push.example.com/", "https://push.example.com@127.0.0.1/",
		"https://:@push.example.com/", "https://@push.example.com/", "https://push.example.com:443@[::1]/",
	},
	Port: {
		"https://push.example.com:80/", "https://push.example.com:0/", "https://push.example.com:22/", "https://push.example.com:8443/", "https://push.example.com:65535/",
		"https://push.example.com:65979/", "https://push.example.com:0443/", "https://push.example.com:4430/", "https://127.0.0.1:2019/load",
	},
	Name: {
		"https://:443/", "https://localhost/", "https://LOCALHOST/", "https://localhost./", "https://x.localhost/", "https://metadata/", "https://push.example.com./",
		"https://router.local/", "https://x.internal/", "https://metadata.google.internal/", "https://x.home.arpa/", "https://x.onion/", "https://x.invalid/",
		"https://2130706433/", "https://0x7f000001/", "https://0x7f.0.0.1/", "https://0177.0.0.1/", "https://017700000001/", "https://127.1/", "https://127.0.1/", "https://127.0.0.1./",
		"https://0x7f.1/", "https://0/", "https://1/", "https://0x/", "https://10.0.0.256/", "https://127.0.0.1.1/", "https://127.0.0.01/", "https://push.example.0x7f/", "https://x.1/",
		"https://.push.example.com/", "https://push..example.com/", "https://-push.example.com/", "https://push-.example.com/", "https://pu!sh.example.com/", "https://*.example.com/",
		"https://" + strings.Repeat("x", 64) + ".example.com/", "https://" + strings.Repeat("x.", 130) + "com/",
	},
	Loopback: {
		"https://127.0.0.1/", "https://127.0.0.1:443/", "https://127.1.2.3/", "https://[::1]/", "https://[::1]:443/", "https://[0:0:0:0:0:0:0:1]/", "https://[::ffff:127.0.0.1]/",
		"https://[::ffff:7f00:1]/", "https://[0:0:0:0:0:ffff:7f00:1]/", "https://[64:ff9b::7f00:1]/", "HTTPS://127.0.0.1/",
	},
	Private:       {"https://10.0.0.1/", "https://172.16.0.1/", "https://192.168.1.1/", "https://[fd00::1]/", "https://[::ffff:192.168.1.1]/", "https://[64:ff9b::192.168.1.1]/"},
	SharedSpace:   {"https://100.64.0.1/", "https://100.100.100.200/latest/meta-data"},
	LinkLocal:     {"https://169.254.169.254/latest/meta-data", "https://[fe80::1]/", "https://[::ffff:a9fe:a9fe]/"},
	Multicast:     {"https://224.0.0.1/", "https://[ff02::1]/"},
	Unspecified:   {"https://0.0.0.0/", "https://[::]/", "https://0.1.1.1/"},
	Documentation: {"https://192.0.2.1/", "https://[2001:db8::1]/"},
	Benchmark:     {"https://198.18.0.1/"},
	Tunnel:        {"https://[::127.0.0.1]/", "https://[2002:7f00:1::]/", "https://[2001::1]/", "https://[::ffff:0:127.0.0.1]/", "https://[64:ff9b:1::a00:1]/"},
	Reserved:      {"https://255.255.255.255/", "https://240.0.0.1/", "https://192.0.0.192/", "https://168.63.129.16/", "https://[100::1]/"},
}

func TestHostileURLs(t *testing.T) {
	p := newPolicy(t)
	client := NewClient(Config{Policy: p})
	n := 0
	for _, want := range slices.Sorted(maps.Keys(hostile)) {
		require.NotEmpty(t, explanations[want])
		for _, u := range hostile[want] {
			n++
			err := p.Check(u)
			var refused *RefusedError
			require.ErrorAs(t, err, &refused, "%q", u)
			assert.Equal(t, want, refused.Reason, "%q", u)
			if len(u) > 8 {
				assert.NotContains(t, err.Error(), u[8:])
			}

			// A client refuses it even where nobody has asked first, unless
			// parsing has made something decent of it.
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u, strings.NewReader("x"))
			if err != nil || want == Malformed || r.URL.Host == "" {
				continue
			}
			resp, err := client.Do(r)
			if err == nil {
				resp.Body.Close()
			}
			assert.ErrorAs(t, err, &refused, "%q", u)
		}
	}
	assert.Greater(t, n, 100)
}

func TestGoodURLs(t *testing.T) {
	p := newPolicy(t)
	for _, u := range []string{
		"https://fcm.googleapis.com/fcm/send/cXyz:APA91b-_x",
		"https://updates.push.services.mozilla.com/wpush/v2/gAAAA_-=",
		"https://web.push.apple.com/QGuQyavXutnMH-_",
		"https://wns2-par02p.notify.windows.com/w/?token=BQYAAAB%2fx%2b",
		"https://ntfy.sh/upABCDEFG?up=1",
		"https://push.example.com",
		"https://PUSH.EXAMPLE.COM:443/",
		"HTTPS://push.example.com/",
		"https://xn--psh-hoa.example/x",
		"https://push_1.example.com/a@b:c",
		"https://1.2.3.com/",
		"https://93.184.216.34/",
		"https://[2606:4700::1111]/",
		"https://internal.example.com/",
		"https://localhost.example.com/?u=http://127.0.0.1/",
	} {
		assert.NoError(t, p.Check(u), u)
	}
}

func TestExceptions(t *testing.T) {
	p := newPolicy(t, "10.1.0.0/16", "192.168.7.7", "fd00:1::/64", "ntfy.internal", "Push.Internal.Example:8443", "http://10.9.9.9:8080", "https://[fd00::9]:9443/")
	for _, u := range []string{
		"https://10.1.2.3/", "https://192.168.7.7:443/x", "https://[::ffff:10.1.2.3]/", "https://[fd00:1::7]/", "https://ntfy.internal/x", "https://NTFY.internal:443/",
		"https://push.internal.example:8443/x", "http://10.9.9.9:8080/x", "https://[fd00::9]:9443/x",
	} {
		assert.NoError(t, p.Check(u), u)
	}
	for u, want := range map[string]Reason{
		"https://10.2.0.1/":                     Private,
		"https://10.1.2.3:8443/":                Port, // the address is excepted, the port is not
		"http://10.1.2.3/":                      Scheme,
		"http://ntfy.internal/":                 Scheme,
		"https://ntfy.internal:8443/":           Port,
		"https://x.ntfy.internal/":              Name,
		"http://push.internal.example:8443/":    Scheme,
		"https://push.internal.example:8444/":   Port,
		"https://10.9.9.9:8080/":                Port,
		"https://10.9.9.9/":                     Private,
		"https://user@ntfy.internal/":           Userinfo,
		"https://ntfy.internal@127.0.0.1/":      Userinfo,
		"https://[fd00:2::7]/":                  Private,
		"https://192.168.7.8/":                  Private,
		"https://push.internal.example:8443/#x": Malformed,
	} {
		var refused *RefusedError
		require.ErrorAs(t, p.Check(u), &refused, u)
		assert.Equal(t, want, refused.Reason, u)
	}
	for _, e := range []string{"", "10.0.0.0/33", "fe80::1%eth0", "a b", "ftp://x", "https://u:p@x", "https://x/path", "https://x?y", "http://", "x:y", `a\b`} {
		_, err := NewPolicy(e)
		assert.Error(t, err, "%q", e)
	}
}

func newPolicy(t *testing.T, exceptions ...string) *Policy {
	t.Helper()
	p, err := NewPolicy(exceptions...)
	require.NoError(t, err)
	return p
}

// What is let through is requested from the host and port that it seems to be.
func FuzzCheck(f *testing.F) {
	for _, list := range hostile {
		for _, u := range list {
			f.Add(u)
		}
	}
	p, err := NewPolicy()
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, u string) {
		if p.Check(u) != nil {
			return
		}
		r, err := http.NewRequest(http.MethodPost, u, http.NoBody)
		require.NoError(t, err)
		require.Equal(t, "https", r.URL.Scheme)
		require.Nil(t, r.URL.User)
		_, rest, _ := strings.Cut(u, "://")
		host := rest[:strings.IndexAny(rest+"/", "/?")]
		require.Contains(t, []string{r.URL.Hostname(), r.URL.Hostname() + ":443", "[" + r.URL.Hostname() + "]", "[" + r.URL.Hostname() + "]:443"}, host)
	})
}
