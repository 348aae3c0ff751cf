// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package targettest

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

// brief is how long attempts get at receivers that hang.
const brief = 200 * time.Millisecond

// noAnswers are attempts without an answer that means something: all of them
// are passing failures.
func (kit Kit) noAnswers(t *testing.T) {
	for name, serve := range map[string]serveFunc{
		"nobody listens":       nil,
		"closes":               says(""),
		"resets":               resets(""),
		"half a status line":   says("HTTP/1.1 20"),
		"half a header":        says("HTTP/1.1 200 OK\r\nContent-Type: te"),
		"resets in the header": resets("HTTP/1.1 200 OK\r\nContent-Type: te"),
		"another protocol":     says("SSH-2.0-OpenSSH_10.0\r\n"),
		"HTML only":            says("<html>hello</html>\n"),
		"empty lines":          says("\r\n\r\n\r\n"),
		"zeros":                says(strings.Repeat("\x00", 4096)),
		"no status":            says("HTTP/1.1\r\n\r\n"),
		"status of letters":    says("HTTP/1.1 abc OK\r\n\r\n"),
		"status of two digits": says("HTTP/1.1 20 OK\r\n\r\n"),
		"negative status":      says("HTTP/1.1 -20 OK\r\n\r\n"),
		"status of four":       says("HTTP/1.1 2000 OK\r\n\r\n"),
		"status 000":           says("HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"),
		"status 099":           says("HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n"),
		"status 600":           says("HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n"),
		"status 999":           says("HTTP/1.1 999 OK\r\nContent-Length: 0\r\n\r\n"),
		"header without colon": says("HTTP/1.1 200 OK\r\nnonsense\r\n\r\n"),
		"control characters":   says("HTTP/1.1 200 OK\r\nX-\x01: \x02\r\n\r\n"),
		"two lengths":          says("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
		"negative length":      says("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
		"unknown encoding":     says("HTTP/1.1 200 OK\r\nTransfer-Encoding: nonsense\r\n\r\n"),
		"endless header":       goesOn("HTTP/1.1 200 OK\r\nX: ", strings.Repeat("x", 4096)),
		"endless headers":      goesOn("HTTP/1.1 200 OK\r\n", strings.Repeat("X: x\r\n", 1000)),
		"says it back":         echoes(""),
		"says it in a header":  echoes("HTTP/1.1 200 OK\r\n"),
		"says it in the line":  echoes("HTTP/1.1 "),
	} {
		t.Run(name, func(t *testing.T) {
			r := kit.deliver(t, serve)
			requireOutcome(t, delivery.TryAgain, r)
			assert.NotEqual(t, "timeout", r.Reason)
			assert.Equal(t, serve == nil, r.Fault == delivery.FaultOfService, "one notification may make a receiver break off, but not be gone")
		})
	}
	for name, serve := range map[string]serveFunc{
		"hangs":                      saysAndHangs(""),
		"hangs in the status line":   saysAndHangs("HTTP/1."),
		"hangs in the header":        saysAndHangs("HTTP/1.1 200 OK\r\nContent-"),
		"hangs after an information": saysAndHangs("HTTP/1.1 100 Continue\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			r := kit.deliverWithin(t, brief, serve)
			requireOutcome(t, delivery.TryAgain, r)
			assert.Equal(t, "timeout", r.Reason)
			assert.Equal(t, delivery.FaultUnknown, r.Fault, "one notification may make a receiver hang")
		})
	}
	t.Run("endless information", func(t *testing.T) { // some give up early, some do not
		r := kit.deliverWithin(t, brief, goesOn("", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"))
		requireOutcome(t, delivery.TryAgain, r)
	})
	t.Run("unknown host", func(t *testing.T) {
		r := kit.attempt(t, t.Context(), kit.New(t, "http://no-such-host.invalid/"+Token, nil))
		requireOutcome(t, delivery.TryAgain, r)
		assert.Equal(t, delivery.FaultOfService, r.Fault)
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		target := kit.New(t, "http://"+listen(t, func(c *net.TCPConn, _ []byte) {
			cancel()
			saysAndHangs("")(c, nil)
		})+"/"+Token, nil)
		assert.Equal(t, delivery.TryAgain, kit.attempt(t, ctx, target).Outcome)
		assert.Equal(t, delivery.TryAgain, kit.attempt(t, ctx, target).Outcome, "and once more, with a context that has ended")
	})
}

// answers are such whose status is clear, whatever comes after it. Nothing is
// gained by waiting for the rest.
func (kit Kit) answers(t *testing.T) {
	for name, serve := range map[string]serveFunc{
		"HTTP/1.0":              says("HTTP/1.0 200 OK\r\n\r\nok"),
		"no phrase":             says("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"),
		"after information":     says("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
		"closes in the body":    says("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"),
		"resets in the body":    resets("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"),
		"broken chunks":         says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense"),
		"body after no content": says("HTTP/1.1 204 No Content\r\n\r\nnonsense"),
		"compressed":            says("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 8\r\n\r\nnonsense"),
		"slow body":             saysAndHangs("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx"),
		"slow chunks":           saysAndHangs("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
		"endless body":          goesOn("HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 64<<10)),
		"huge body":             goesOn("HTTP/1.1 200 OK\r\nContent-Length: 9000000000000000000\r\n\r\n", strings.Repeat("x", 64<<10)),
	} {
		t.Run(name, func(t *testing.T) {
			requireOutcome(t, delivery.Delivered, kit.deliverWithin(t, 2*enough, serve))
		})
	}
	t.Run("slow body of a refusal", func(t *testing.T) {
		r := kit.deliverWithin(t, 2*enough, saysAndHangs("HTTP/1.1 400 Bad Request\r\nContent-Length: 100\r\n\r\nx"))
		requireOutcome(t, kit.want(400), r)
	})
	t.Run("answers before the request has ended", func(t *testing.T) {
		r := kit.deliver(t, says("HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"))
		requireOutcome(t, kit.want(413), r)
	})
}

func requireOutcome(t *testing.T, want delivery.Outcome, r delivery.Result) {
	t.Helper()
	require.Equal(t, want.String(), r.Outcome.String(), "%s: %v", r.Reason, r.Err)
}
