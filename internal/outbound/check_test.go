// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// hostileURLs are URLs that must not be requested, by why. Tests of what takes
// URLs from users read the same file.
func hostileURLs(t testing.TB) map[Reason][]string {
	t.Helper()
	text, err := os.ReadFile("testdata/hostile.json")
	require.NoError(t, err)
	var hostile map[Reason][]string
	require.NoError(t, json.Unmarshal(text, &hostile))
	return hostile
}

func TestHostileURLs(t *testing.T) {
	p := newPolicy(t)
	client := NewClient(Config{Policy: p})
	hostile, n := hostileURLs(t), 0
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
	for _, list := range hostileURLs(f) {
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
