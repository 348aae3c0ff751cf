// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package device

import (
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
)

// Connections is how many there are at most to a service of apps. Each of them has
// many requests at once (HTTP/2); without a bound, every request that waits for the
// first connection would open another one.
const Connections = 10

// errOrigin does not quote the URL, which may hold a password.
var errOrigin = errors.New("the URL must be https://host or https://host:port, without user name, path and query")

// NewClient returns a client of a service of apps: it makes requests to these
// origins, and to nothing else. With http2, nothing else is spoken.
func NewClient(http2 bool, origins ...string) (*http.Client, error) {
	for _, origin := range origins {
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
			return nil, errOrigin
		}
	}
	policy, err := outbound.NewPolicy(origins...)
	if err != nil {
		return nil, err
	}
	return outbound.NewClient(outbound.Config{Policy: policy, HTTP2: http2, Connections: Connections}), nil
}
