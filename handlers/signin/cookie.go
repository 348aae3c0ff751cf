// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"time"
)

var errNoSession = errors.New("no session cookie")

// cookieName returns the name of the cookie for an audience. __Host- keeps
// other hosts of the domain, and plain HTTP, from setting it; such a cookie has
// the path /, so that the name must keep several sites on one host apart.
func cookieName(audience string) string {
	sum := sha256.Sum256([]byte(audience))
	return "__Host-dovecot-push-" + hex.EncodeToString(sum[:4])
}

// session returns the session of the cookie of r.
func (a *Authenticator) session(r *http.Request) (*session, error) {
	cookie, err := r.Cookie(a.cookie)
	if err != nil {
		return nil, errNoSession
	}
	key, err := a.cfg.Key(r.Context())
	if err != nil {
		return nil, err
	}
	s, err := parseToken(cookie.Value, key, a.cfg.Audience, time.Now())
	if err != nil {
		return nil, err
	}
	return &s, a.valid(r.Context(), &s)
}

// valid returns nil if the session has neither been ended nor expired.
func (a *Authenticator) valid(ctx context.Context, s *session) error {
	if !time.Now().Before(s.expires()) {
		return errToken
	}
	revoked, err := a.cfg.Revoked(ctx, s.public())
	if err == nil && revoked {
		err = errToken
	}
	return err
}

// renew sets a new cookie if that of the session is older than renewAfter. It
// returns the session of the current cookie.
func (a *Authenticator) renew(w http.ResponseWriter, r *http.Request, s *session) *session {
	now := time.Now()
	if now.Sub(s.renewed) < renewAfter {
		return s
	}
	younger := *s
	younger.renewed = now
	if err := a.setCookie(w, r, &younger); err != nil {
		return s // which is still valid for some time
	}
	return &younger
}

func (a *Authenticator) setCookie(w http.ResponseWriter, r *http.Request, s *session) error {
	key, err := a.cfg.Key(r.Context())
	if err != nil {
		return err
	}
	a.writeCookie(w, s.token(key, a.cfg.Audience), int(time.Until(s.expires()).Seconds()))
	return nil
}

func (a *Authenticator) clearCookie(w http.ResponseWriter) { a.writeCookie(w, "", -1) }

func (a *Authenticator) writeCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: a.cookie, Value: value, MaxAge: maxAge,
		Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}
