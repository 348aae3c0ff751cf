// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Parts of what Caddy's adapter makes of Caddyfiles.
const (
	guardOn = `{"handler":"dovecot_push_guard","paths":["/preliminary/*"],"allow":["10.0.0.0/8"]}`
	proxyTo = `{"handler":"reverse_proxy","upstreams":[{"dial":"ox1:8009"}]}`
	another = `{"handler":"reverse_proxy","upstreams":[{"dial":"pages:80"}]}`
)

func site(host, routes string) string {
	return `{"match":[{"host":["` + host + `"]}],"handle":[{"handler":"subroute","routes":[` + routes + `]}],"terminal":true}`
}

func handles(handlers ...string) string { return `{"handle":[` + strings.Join(handlers, ",") + `]}` }

var byClientIP = strings.Replace(guardOn, "{", `{"client_ip":true,`, 1)

func TestRoutes(t *testing.T) {
	for name, c := range map[string]struct {
		server string
		want   Status
	}{
		"guard before the proxy": {`"routes":[` + site("a", handles(guardOn, proxyTo)) + `]`, OK},
		"no guard at all":        {`"routes":[` + site("a", handles(proxyTo)) + `]`, Skipped},
		"error route to the backend": {
			`"routes":[` + site("a", handles(guardOn, proxyTo)) + `],"errors":{"routes":[` + site("a", handles(proxyTo)) + `]}`, Warning,
		},
		"error route with a guard": {
			`"routes":[` + site("a", handles(guardOn, proxyTo)) + `],"errors":{"routes":[` + site("a", handles(guardOn, proxyTo)) + `]}`, OK,
		},
		"error route to other pages": {
			`"routes":[` + site("a", handles(guardOn, proxyTo)) + `],"errors":{"routes":[` + site("a", handles(another)) + `]}`, OK,
		},
		"a prefix is stripped after the guard": {
			`"routes":[` + site("a", handles(guardOn)+`,{"match":[{"path":["/app/*"]}],"group":"g","handle":[{"handler":"subroute","routes":[`+
				handles(`{"handler":"rewrite","strip_path_prefix":"/app"}`)+","+handles(proxyTo)+`]}]},{"group":"g","handle":[`+proxyTo+`]}`) + `]`, Problem,
		},
		"a prefix is stripped before the guard": {
			`"routes":[` + site("a", handles(`{"handler":"rewrite","strip_path_prefix":"/app"}`)+","+handles(guardOn)+","+handles(proxyTo)) + `]`, OK,
		},
		"the proxy comes first for one path": {
			`"routes":[` + site("a", `{"match":[{"path":["/preliminary/*"]}],"handle":[`+proxyTo+`]},`+handles(guardOn, proxyTo)) + `,` + site("b", handles(guardOn, proxyTo)) + `]`, Problem,
		},
		"the guard is for some methods only": {
			`"routes":[` + site("a", `{"match":[{"method":["PUT"]}],"handle":[`+guardOn+`]},`+handles(guardOn, proxyTo)+`,`+
				handles(proxyTo)) + `,` + site("b", `{"match":[{"method":["PUT"]}],"handle":[`+guardOn+`]},`+handles(proxyTo)) + `]`, Problem,
		},
		"another site": {
			`"routes":[` + site("a", handles(guardOn, proxyTo)) + `,` + site("b", handles(proxyTo)) + `]`, Warning,
		},
		"another site, from some addresses": {
			`"routes":[` + site("a", handles(guardOn, proxyTo)) + `,` + site("b", `{"match":[{"remote_ip":{"ranges":["10.0.0.0/8"]}}],"handle":[`+proxyTo+`]}`) + `]`, OK,
		},
		"forgeable": {
			`"trusted_proxies":{"source":"static"},"routes":[` + site("a", handles(`{"handler":"dovecot_push_api","login":"imap"}`)) + `]`, Problem,
		},
		"strict": {
			`"trusted_proxies":{"source":"static"},"trusted_proxies_strict":1,"routes":[` + site("a", handles(`{"handler":"dovecot_push_api","login":"imap"}`)) + `]`, Skipped,
		},
		"forgeable guard": {
			`"trusted_proxies":{"source":"static"},"routes":[` + site("a", handles(byClientIP, proxyTo)) + `]`, Problem,
		},
		"forgeable guard in an error route": {
			`"trusted_proxies":{"source":"static"},"routes":[` + site("a", handles(guardOn, proxyTo)) + `],"errors":{"routes":[` + site("a", handles(byClientIP, proxyTo)) + `]}`, Problem,
		},
		"forgeable guard in an error route below": {
			`"trusted_proxies":{"source":"static"},"routes":[` + site("a", handles(`{"handler":"subroute","routes":[`+handles(guardOn, proxyTo)+`],"errors":{"routes":[`+handles(byClientIP, proxyTo)+`]}}`)) + `]`, Problem,
		},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := Routes([]byte(`{"servers":{"srv0":{` + c.server + `}}}`))
			require.NoError(t, err)
			assert.Equal(t, c.want, Worst(found), "%v", found)
			for _, f := range complaints(found) {
				assert.NotEmpty(t, f.Fix)
			}
		})
	}
	_, err := Routes([]byte(`{"servers":1}`))
	require.Error(t, err)
}
