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

// refusal is an answer to somebody who is not let in.
type refusal struct {
	status int
	detail string
	again  time.Duration // when to come again; 0 if that would not help
}

var (
	notSignedIn = &refusal{status: http.StatusUnauthorized, detail: "sign in first"}
	signedOut   = &refusal{status: http.StatusUnauthorized, detail: "the session has ended: sign in again"}
	wrongLogin  = &refusal{status: http.StatusUnauthorized, detail: "the user name or the password is wrong"}
)

func tooMany(again time.Duration) *refusal {
	return &refusal{http.StatusTooManyRequests, "too many wrong logins came from here or for this user; come again later", again}
}

func tooManySessions(again time.Duration) *refusal {
	return &refusal{http.StatusTooManyRequests, "this user has signed in too often; come again later", again}
}

func notNow(again time.Duration) *refusal {
	return &refusal{http.StatusServiceUnavailable, "logins cannot be checked right now; come again later", again}
}

// noName is for somebody whom something before the gate has authenticated under
// a name that no user can have.
func noName(err error) *refusal {
	return &refusal{status: http.StatusForbidden, detail: err.Error()}
}

func (f *refusal) write(w http.ResponseWriter, r *http.Request) {
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", challenge(r))
	}
	if f.again > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.again.Seconds()))))
	}
	problem.Write(w, problem.Problem{Status: f.status, Detail: f.detail})
}

// challenge names a scheme to scripts in a browser that the browser does not
// know: for Basic it would ask for the password in a window of its own.
func challenge(r *http.Request) string {
	if r.Header.Get("Sec-Fetch-Site") != "" {
		return `Session realm="push"`
	}
	return `Basic realm="push", charset="UTF-8"`
}
