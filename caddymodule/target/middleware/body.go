// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package middleware

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// repeatBodies lets the proxy send a body once more, to another node or on
// another connection when a node has closed the one that it waited on.
//
// Caddy's request_buffers would do so too, but from a buffer that the next
// request gets as soon as there is an answer: what is still being sent to a node
// that answered early would become the body of another notification.
func repeatBodies(proxy *reverseproxy.Handler) {
	if transport, ok := proxy.Transport.(*reverseproxy.HTTPTransport); ok {
		proxy.Transport = bodyTransport{transport}
	} else if proxy.RequestBuffers == 0 { // of another module
		proxy.RequestBuffers = -1 // without a limit: bodies are small and in memory anyway
	}
}

// bodyTransport sends the whole body of a request in each attempt, from where
// nobody ever writes to it.
type bodyTransport struct{ *reverseproxy.HTTPTransport }

// RoundTrip implements [http.RoundTripper].
func (t bodyTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.GetBody != nil { // not of a health check
		body, err := r.GetBody()
		if err != nil {
			return nil, err
		}
		r = r.WithContext(r.Context()) // a shallow copy
		r.Body = body
	}
	return t.HTTPTransport.RoundTrip(r)
}
