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

// session returns the session that the cookie of r stands for.
func (g *Gate) session(r *http.Request) (*session, error) {
	cookie, err := r.Cookie(g.cookie)
	if err != nil {
		return nil, errNoSession
	}
	key, err := g.cfg.Key(r.Context())
	if err != nil {
		return nil, err
	}
	s, err := parseToken(cookie.Value, key, g.cfg.Audience, time.Now())
	if err != nil {
		return nil, err
	}
	return &s, g.holds(r.Context(), &s)
}

// holds returns nil if nobody has ended the session and it has not expired.
func (g *Gate) holds(ctx context.Context, s *session) error {
	if !time.Now().Before(s.expires()) {
		return errToken
	}
	revoked, err := g.cfg.Revoked(ctx, s.public())
	if err == nil && revoked {
		err = errToken
	}
	return err
}

// renew gives a session that has been used for some time a younger cookie, and
// returns the session as it is then.
func (g *Gate) renew(w http.ResponseWriter, r *http.Request, s *session) *session {
	now := time.Now()
	if now.Sub(s.renewed) < renewAfter {
		return s
	}
	younger := *s
	younger.renewed = now
	if err := g.setCookie(w, r, &younger); err != nil {
		return s // which is good for some time
	}
	return &younger
}

func (g *Gate) setCookie(w http.ResponseWriter, r *http.Request, s *session) error {
	key, err := g.cfg.Key(r.Context())
	if err != nil {
		return err
	}
	g.writeCookie(w, s.token(key, g.cfg.Audience), int(time.Until(s.expires()).Seconds()))
	return nil
}

func (g *Gate) clearCookie(w http.ResponseWriter) { g.writeCookie(w, "", -1) }

func (g *Gate) writeCookie(w http.ResponseWriter, value string, maxAge int) {
	http.SetCookie(w, &http.Cookie{
		Name: g.cookie, Value: value, MaxAge: maxAge,
		Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
}
