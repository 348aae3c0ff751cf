// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package targettest

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

// outcomes of status codes for HTTP receivers in general: single codes, and
// then whole classes.
var outcomes = map[int]delivery.Outcome{
	401: delivery.Misconfigured, 403: delivery.Misconfigured, 407: delivery.Misconfigured,
	404: delivery.Misconfigured, 405: delivery.Misconfigured,
	408: delivery.TryAgain, 425: delivery.TryAgain, 429: delivery.TryAgain,

	2: delivery.Delivered, 3: delivery.Misconfigured, 4: delivery.Refused, 5: delivery.TryAgain,
}

func (kit Kit) want(status int) delivery.Outcome {
	if o, ok := kit.Outcomes[status]; ok {
		return o
	}
	if o, ok := outcomes[status]; ok {
		return o
	}
	return outcomes[status/100]
}

// statuses looks at every status code there is, with and without a body.
func (kit Kit) statuses(t *testing.T) {
	var status int
	var body string
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		if status != http.StatusNoContent && status != http.StatusNotModified {
			_, _ = w.Write([]byte(body))
		}
	})
	target := kit.New(t, serve(t, handler).URL+"/"+Token, nil)
	for status = 200; status <= 599; status++ {
		for _, body = range []string{"", `{"error":"` + Token + `"}`} {
			r := kit.attempt(t, t.Context(), target)
			assert.Equal(t, kit.want(status).String(), r.Outcome.String(), status)
			if r.Outcome != delivery.Delivered {
				assert.Equal(t, "status_"+strconv.Itoa(status), r.Reason)
				assert.ErrorContains(t, r.Err, strconv.Itoa(status))
			}
			assert.Zero(t, r.After)
		}
	}
	// An informational answer is none: another one must follow. 101 ends HTTP,
	// and nobody asked for that.
	for status = 100; status <= 199; status++ {
		line := fmt.Sprintf("HTTP/1.1 %d Informational\r\n\r\n", status)
		r := kit.deliver(t, says(line))
		assert.Contains(t, []delivery.Outcome{delivery.TryAgain, delivery.Misconfigured}, r.Outcome, status)
		if status != http.StatusSwitchingProtocols {
			r = kit.deliver(t, says(line+"HTTP/1.1 204 No Content\r\n\r\n"))
			assert.Equal(t, delivery.Delivered, r.Outcome, status)
		}
	}
}

// retryAfter asks for patience in both forms that the field has.
func (kit Kit) retryAfter(t *testing.T) {
	var status int
	var value string
	target := kit.New(t, serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", value)
		w.WriteHeader(status)
	})).URL+"/"+Token, nil)
	for _, status = range []int{429, 503} {
		value = "7"
		assert.Equal(t, 7*time.Second, kit.attempt(t, t.Context(), target).After, status)
		value = time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)
		after := kit.attempt(t, t.Context(), target).After
		assert.Greater(t, after, 30*time.Minute, status)
		assert.LessOrEqual(t, after, time.Hour, status)
		for _, value = range []string{"", "soon", "-1", "1e9", "99999999999999999999"} {
			assert.Zero(t, kit.attempt(t, t.Context(), target).After, value)
		}
	}
}
