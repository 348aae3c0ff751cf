// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
)

func Example() {
	paths, err := guard.NewPaths("/preliminary/*")
	if err != nil {
		panic(err)
	}
	networks, err := guard.ParseNetworks([]string{"192.168.0.", "10.1.0.0/16", "2001:db8::/32"})
	if err != nil {
		panic(err)
	}
	g := &guard.Guard{Allow: networks}

	for _, target := range []string{"/preliminary/http-notify/v1/notify", "/x/..;/preliminary", "/appsuite/"} {
		for _, peer := range []string{"192.168.0.7:4711", "203.0.113.9:4711"} {
			r := httptest.NewRequest(http.MethodPut, target, nil)
			r.RemoteAddr = peer
			status := http.StatusOK
			if paths.Match(r.URL) {
				if verdict := g.Judge(r); verdict != guard.Allowed {
					status = verdict.Status()
				}
			}
			fmt.Println(target, peer, status)
		}
	}
	// Output:
	// /preliminary/http-notify/v1/notify 192.168.0.7:4711 200
	// /preliminary/http-notify/v1/notify 203.0.113.9:4711 403
	// /x/..;/preliminary 192.168.0.7:4711 200
	// /x/..;/preliminary 203.0.113.9:4711 403
	// /appsuite/ 192.168.0.7:4711 200
	// /appsuite/ 203.0.113.9:4711 200
}
