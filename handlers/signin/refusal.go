// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/problem"
)

// refusal is the answer to a request that is not authenticated.
type refusal struct {
	status     int
	detail     string
	retryAfter time.Duration // 0 if retrying would not help
}

var (
	notSignedIn = &refusal{status: http.StatusUnauthorized, detail: "Sign in first."}
	signedOut   = &refusal{status: http.StatusUnauthorized, detail: "The session has ended: sign in again."}
	wrongLogin  = &refusal{status: http.StatusUnauthorized, detail: "The user name or the password is wrong."}
)

func tooMany(retryAfter time.Duration) *refusal {
	return &refusal{http.StatusTooManyRequests, "There were too many wrong logins from here or for this user. Try again later.", retryAfter}
}

func tooManySessions(retryAfter time.Duration) *refusal {
	return &refusal{http.StatusTooManyRequests, "This user has signed in too often. Try again later.", retryAfter}
}

func notNow(retryAfter time.Duration) *refusal {
	return &refusal{http.StatusServiceUnavailable, "Logins cannot be checked right now. Try again later.", retryAfter}
}

// noName is for a request that an earlier handler has authenticated with a name
// that no user can have.
func noName(err error) *refusal {
	return &refusal{status: http.StatusForbidden, detail: err.Error()}
}

func (f *refusal) write(w http.ResponseWriter, r *http.Request) {
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", challenge(r))
	}
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retryAfter.Seconds()))))
	}
	problem.Write(w, problem.Problem{Status: f.status, Detail: f.detail})
}

// challenge names a scheme unknown to browsers if the request comes from a
// script in one: for Basic the browser would show its own password prompt.
func challenge(r *http.Request) string {
	if r.Header.Get("Sec-Fetch-Site") != "" {
		return `Session realm="push"`
	}
	return `Basic realm="push", charset="UTF-8"`
}
