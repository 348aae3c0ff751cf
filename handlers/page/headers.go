// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"net/http"
	"strings"
)

// policy lets the page load its own files, talk to its own server, and nothing
// else. The one Trusted Types policy is the name of the service worker's file
// (js/worker.js); no other string ever becomes code.
var policy = strings.Join([]string{
	"default-src 'none'",
	"script-src 'self'",
	"style-src 'self'",
	"img-src 'self'",
	"connect-src 'self'",
	"manifest-src 'self'",
	"worker-src 'self'",
	"base-uri 'none'",
	"form-action 'none'", // forms are sent by script: a password is never part of a URL
	"frame-ancestors 'none'",
	"require-trusted-types-for 'script'",
	"trusted-types worker",
}, "; ")

func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", policy)
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
}
