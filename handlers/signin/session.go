// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/problem"
)

// maxLogin bounds the body of a sign-in, in bytes.
const maxLogin = 8 << 10

// Session returns the handler for signing in and out: POST takes a login and
// answers with a cookie, GET returns the signed-in user, DELETE signs out.
func (a *Authenticator) Session() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		methods := map[string]http.HandlerFunc{
			http.MethodGet: a.showSession, http.MethodPost: a.signIn, http.MethodDelete: a.signOut,
		}
		if a.cfg.External != nil { // the handler that signed the user in also signs out
			methods = map[string]http.HandlerFunc{http.MethodGet: a.showSession}
		}
		handler, ok := methods[r.Method]
		if r.Method == http.MethodHead {
			handler, ok = a.showSession, true
		}
		if !ok {
			allow := "GET, HEAD, POST, DELETE"
			if a.cfg.External != nil {
				allow = "GET, HEAD"
			}
			w.Header().Set("Allow", allow)
			problem.Write(w, problem.Problem{Status: http.StatusMethodNotAllowed})
			return
		}
		handler(w, r)
	})
}

// answer is the JSON about a session.
type answer struct {
	User string `json:"user"`
	// Expires is null if there is no session, but a login in each request.
	Expires *time.Time `json:"expires"`
	Notice  string     `json:"notice,omitempty"`
}

// unknownUser is for people whose password is right, while Dovecot knows no user of
// their name: their login is another name of somebody.
const unknownUser = "The mail server knows no user of this name. It may report your mail under another name; your devices get none of it then. " +
	"Sign in with your main mail address."

func (a *Authenticator) writeSession(w http.ResponseWriter, r *http.Request, user string, s *session) {
	body := answer{User: user}
	if a.cfg.Unknown(r.Context(), user) {
		body.Notice = unknownUser
	}
	if s != nil {
		expires := s.expires().UTC()
		body.Expires = &expires
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body)
}

func (a *Authenticator) showSession(w http.ResponseWriter, r *http.Request) {
	who, refusal := a.identify(r)
	if refusal != nil {
		if refusal == signedOut {
			a.clearCookie(w)
		}
		refusal.write(w, r)
		return
	}
	if who.session != nil {
		who.session = a.renew(w, r, who.session)
	}
	a.writeSession(w, r, who.user, who.session)
}

var errTrailing = errors.New("something follows the JSON object")

// decode reads body, which must be exactly one JSON object.
func decode(body io.Reader, into any) error {
	dec := json.NewDecoder(body)
	if err := dec.Decode(into); err != nil {
		return err
	}
	switch _, err := dec.Token(); {
	case err == nil:
		return errTrailing
	case errors.Is(err, io.EOF):
		return nil
	default:
		return err
	}
}

func (a *Authenticator) signIn(w http.ResponseWriter, r *http.Request) {
	var login struct {
		Username string `json:"username"`
		Password string `json:"password"`
	}
	err := decode(http.MaxBytesReader(w, r.Body, maxLogin), &login)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		problem.Write(w, problem.Problem{Status: http.StatusRequestEntityTooLarge})
		return
	}
	if err != nil {
		problem.Write(w, problem.Problem{Status: http.StatusBadRequest, Detail: "the body must be a JSON object with username and password"})
		return
	}
	refusal := a.verify(r, login.Username, login.Password)
	var who identity
	if refusal == nil {
		who, refusal = a.canonical(r, login.Username)
	}
	if refusal != nil {
		refusal.write(w, r)
		return
	}
	if wait := a.begun.Count(who.user); wait > 0 {
		tooManySessions(wait).write(w, r)
		return
	}
	s := newSession(who.user, time.Now())
	if err := a.setCookie(w, r, &s); err != nil {
		notNow(busyRetryAfter).write(w, r)
		return
	}
	a.writeSession(w, r, who.user, &s)
}

// signOut ends the session for good, even for copies of its cookie.
func (a *Authenticator) signOut(w http.ResponseWriter, r *http.Request) {
	s, err := a.session(r)
	if err == nil {
		err = a.cfg.Revoke(r.Context(), s.public(), s.latest(time.Now()))
	}
	a.clearCookie(w)
	if err != nil && !errors.Is(err, errNoSession) && !errors.Is(err, errToken) {
		notNow(busyRetryAfter).write(w, r)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
