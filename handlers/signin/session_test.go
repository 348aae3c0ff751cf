// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

func TestSignInAndOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		status, _, _ := s.whoami(nil)
		require.Equal(t, http.StatusUnauthorized, status)

		resp := s.signIn("Alice@EXAMPLE.com", "wonderland")
		cookie := cookieOf(t, resp)
		require.Regexp(t, `^__Host-dovecot-push-[0-9a-f]{8}=[A-Za-z0-9_-]+; Path=/; Max-Age=2592000; HttpOnly; Secure; SameSite=Strict$`,
			resp.Header.Get("Set-Cookie"))
		require.Equal(t, "no-store", resp.Header.Get("Cache-Control"))
		require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
		want := fmt.Sprintf(`{"user":"alice@example.com","expires":%q}`, time.Now().Add(lifetime).UTC().Format(time.RFC3339))
		require.JSONEq(t, want, text(resp))

		status, user, retryAfter := s.whoami(cookie)
		require.Equal(t, http.StatusOK, status)
		require.Equal(t, alice, user, "as Dovecot writes it")
		require.Nil(t, retryAfter, "a young cookie stays")
		r := httptest.NewRequest(http.MethodGet, "/session", nil)
		r.AddCookie(cookie)
		resp = s.do(r)
		require.JSONEq(t, want, text(resp))

		out := httptest.NewRequest(http.MethodDelete, "/session", nil)
		out.AddCookie(cookie)
		resp = s.do(out)
		require.Equal(t, http.StatusNoContent, resp.StatusCode)
		require.Negative(t, resp.Cookies()[0].MaxAge)
		status, _, _ = s.whoami(cookie)
		require.Equal(t, http.StatusUnauthorized, status, "a copy of the cookie is worth nothing")
		resp = s.do(out)
		require.Equal(t, http.StatusNoContent, resp.StatusCode)
		for _, until := range s.revoked {
			require.Equal(t, lifetime+clockSkew, time.Until(until).Round(time.Second))
		}
	})
}

func TestWrongLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for range bySource.Burst {
			resp := s.signIn(alice, "swordfish")
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			require.Empty(t, resp.Cookies())
			body := text(resp)
			require.Contains(t, body, "the user name or the password is wrong")
			require.NotContains(t, body, "alice")
		}
		resp := s.signIn(alice, "wonderland")
		require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
		require.Equal(t, "10", resp.Header.Get("Retry-After"), "by then one is looked at")
		require.Equal(t, map[Result]int{Wrong: bySource.Burst, Throttled: 1}, s.results)
	})
}

func TestBadSignIns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for body, want := range map[string]int{
			"":                     http.StatusBadRequest,
			"null":                 http.StatusUnauthorized,
			"[]":                   http.StatusBadRequest,
			`{"username":1}`:       http.StatusBadRequest,
			`{} {}`:                http.StatusBadRequest,
			`{"username":"alice"}`: http.StatusUnauthorized,
			`{"username":"` + strings.Repeat("x", 1<<20) + `","password":"x"}`: http.StatusRequestEntityTooLarge,
			strings.Repeat("[", 1<<20): http.StatusRequestEntityTooLarge,
		} {
			resp := s.do(httptest.NewRequest(http.MethodPost, "/session", strings.NewReader(body)))
			require.Equal(t, want, resp.StatusCode, "%.20s", body)
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
		}
		require.Zero(t, s.count())
		resp := s.do(httptest.NewRequest(http.MethodPut, "/session", nil))
		require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
		require.Equal(t, "GET, HEAD, POST, DELETE", resp.Header.Get("Allow"))
	})
}

func TestSessionIsRenewedWhileUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		start := time.Now()
		cookie := cookieOf(t, s.signIn(alice, "wonderland"))
		for {
			time.Sleep(20 * 24 * time.Hour)
			status, _, retryAfter := s.whoami(cookie)
			if status != http.StatusOK {
				break
			}
			require.NotNil(t, retryAfter)
			cookie = retryAfter
		}
		require.Equal(t, 100*24*time.Hour, time.Since(start), "but not for ever")

		cookie = cookieOf(t, s.signIn(alice, "wonderland"))
		time.Sleep(lifetime)
		status, _, _ := s.whoami(cookie)
		require.Equal(t, http.StatusUnauthorized, status, "unused")

		// To end a session ends everything that it was renewed to.
		first := cookieOf(t, s.signIn(alice, "wonderland"))
		time.Sleep(2 * renewAfter)
		_, _, younger := s.whoami(first)
		out := httptest.NewRequest(http.MethodDelete, "/session", nil)
		out.AddCookie(first)
		s.do(out)
		status, _, _ = s.whoami(younger)
		require.Equal(t, http.StatusUnauthorized, status)
	})
}

func TestForgedAndForeignCookies(t *testing.T) {
	s := newSite(t)
	cookie := cookieOf(t, s.signIn(alice, "wonderland"))
	bobs := cookieOf(t, s.signIn("bob@example.com", "builder"))
	status, user, _ := s.whoami(bobs)
	require.Equal(t, http.StatusOK, status)
	require.Equal(t, "bob@example.com", user)

	for name, value := range map[string]string{
		"empty": "", "cut": cookie.Value[:len(cookie.Value)-1], "of two": cookie.Value[:60] + bobs.Value[60:],
		"plain": "alice@example.com", "long": strings.Repeat("A", 8000),
	} {
		status, _, _ := s.whoami(&http.Cookie{Name: cookie.Name, Value: value})
		require.Equal(t, http.StatusUnauthorized, status, name)
	}
	elsewhere := s.cfg
	elsewhere.Audience = "/other/"
	s.auth = New(elsewhere)
	status, _, _ = s.whoami(cookie)
	require.Equal(t, http.StatusUnauthorized, status)
	cookie.Name = cookieName("/other/")
	status, _, _ = s.whoami(cookie)
	require.Equal(t, http.StatusUnauthorized, status, "renamed")
}

func TestEndedCookieIsTakenBack(t *testing.T) {
	s := newSite(t)
	r := httptest.NewRequest(http.MethodGet, "/session", nil)
	r.AddCookie(&http.Cookie{Name: cookieName("/push/"), Value: "old"})
	resp := s.do(r)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Negative(t, resp.Cookies()[0].MaxAge)
}

// The mail server gets the login as it was typed. Who that is, Dovecot says.
func TestNames(t *testing.T) {
	s := newSite(t)
	s.mindsCase = true
	s.users["ServerAdmin@example.com"] = "secret"
	s.users["dave@x0"] = "secret"
	s.auth.cfg.Canonical = func(_ context.Context, login string) (string, error) {
		name, _, _ := strings.Cut(login, "@x")
		return name, username.Valid(login)
	}
	for login, want := range map[string]string{"ServerAdmin@example.com": "ServerAdmin@example.com", "dave@x0": "dave"} {
		resp := s.signIn(login, "secret")
		require.Equal(t, http.StatusOK, resp.StatusCode, login)
		_, user, _ := s.whoami(cookieOf(t, resp))
		require.Equal(t, want, user)
		r := httptest.NewRequest(http.MethodGet, "/who", nil)
		r.SetBasicAuth(login, "secret")
		require.Equal(t, want, text(s.do(r)))
	}
	require.Equal(t, http.StatusUnauthorized, s.signIn("serveradmin@example.com", "secret").StatusCode, "somebody else")
	require.Equal(t, http.StatusUnauthorized, s.signIn(strings.Repeat("x", username.Max+1), "secret").StatusCode)
}

// What guards an account against guesses does not mind how its login is written.
func TestGuessesInEverySpelling(t *testing.T) {
	s := newSite(t)
	for i := range byAccount.Burst {
		s.from = netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		login := strings.ToUpper(alice[:i%5]) + alice[i%5:]
		require.Equal(t, http.StatusUnauthorized, s.signIn(login, "swordfish").StatusCode)
	}
	s.from = other
	require.Equal(t, http.StatusTooManyRequests, s.signIn("ALICE@EXAMPLE.COM", "swordfish").StatusCode)
}

// Whatever authenticates in front of it may have names that no user can have.
func TestExternalNames(t *testing.T) {
	for name, want := range map[string]int{
		"Alice@example.com": http.StatusOK, "": http.StatusUnauthorized, "tab\tname": http.StatusForbidden,
		strings.Repeat("y", 3000): http.StatusForbidden, strings.Repeat("y", username.Max): http.StatusOK,
	} {
		auth := New(Config{External: func(*http.Request) string { return name }})
		w := httptest.NewRecorder()
		auth.Session().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/session", nil))
		require.Equal(t, want, w.Code, "%.20q", name)
	}
}

func TestBasic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		ask := func(user, password string) *http.Response {
			r := httptest.NewRequest(http.MethodGet, "/who", nil)
			r.SetBasicAuth(user, password)
			return s.do(r)
		}
		for range 100 {
			resp := ask("ALICE@example.com", "wonderland")
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Equal(t, alice, text(resp))
			require.Empty(t, resp.Cookies())
		}
		require.Equal(t, 1, s.count())
		require.Equal(t, map[Result]int{Accepted: 1, Known: 99}, s.results)
		resp := ask(alice, "swordfish")
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		require.Equal(t, `Basic realm="push", charset="UTF-8"`, resp.Header.Get("WWW-Authenticate"))

		// What is in the request counts, not the cookie that comes with it.
		cookie := cookieOf(t, s.signIn("bob@example.com", "builder"))
		for _, header := range []string{"Basic !", "Bearer x", "Basic " + "YWxpY2U6"} {
			r := httptest.NewRequest(http.MethodGet, "/who", nil)
			r.Header.Set("Authorization", header)
			r.AddCookie(cookie)
			require.Equal(t, http.StatusUnauthorized, s.do(r).StatusCode, header)
		}
		r := httptest.NewRequest(http.MethodGet, "/session", nil)
		r.SetBasicAuth(alice, "wonderland")
		require.JSONEq(t, `{"user":"alice@example.com","expires":null}`, text(s.do(r)))
	})
}

// A browser would ask for the password in a window of its own.
func TestScriptsAreNotChallengedWithBasic(t *testing.T) {
	s := newSite(t)
	r := httptest.NewRequest(http.MethodGet, "/session", nil)
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	resp := s.do(r)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, `Session realm="push"`, resp.Header.Get("WWW-Authenticate"))
}

func TestExternal(t *testing.T) {
	s := newSite(t)
	cookie := cookieOf(t, s.signIn("bob@example.com", "builder"))
	s.cfg.External = func(r *http.Request) string { return r.Header.Get("X-Test-User") }
	s.auth = New(s.cfg)
	r := httptest.NewRequest(http.MethodGet, "/who", nil)
	r.AddCookie(cookie)
	r.SetBasicAuth("bob@example.com", "builder")
	require.Equal(t, http.StatusUnauthorized, s.do(r).StatusCode, "nothing else counts")
	r.Header.Set("X-Test-User", "Alice@example.com")
	require.Equal(t, alice, text(s.do(r)))
	r.URL.Path = "/session"
	require.JSONEq(t, `{"user":"alice@example.com","expires":null}`, text(s.do(r)))
	resp := s.signIn(alice, "wonderland")
	require.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	require.Equal(t, "GET, HEAD", resp.Header.Get("Allow"))
}

func TestStoresDown(t *testing.T) {
	s := newSite(t)
	cookie := cookieOf(t, s.signIn(alice, "wonderland"))
	s.keyErr = errors.New("storage is away")
	status, _, _ := s.whoami(cookie)
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.Equal(t, http.StatusServiceUnavailable, s.signIn(alice, "wonderland").StatusCode)
	s.keyErr = nil

	revoked := s.cfg.Revoked
	s.cfg.Revoked = func(context.Context, Session) (bool, error) { return false, errors.New("not read yet") }
	s.auth = New(s.cfg)
	status, body, _ := s.whoami(cookie)
	require.Equal(t, http.StatusServiceUnavailable, status)
	var p struct{ Status int }
	require.NoError(t, json.Unmarshal([]byte(body), &p))
	require.Equal(t, http.StatusServiceUnavailable, p.Status)

	s.cfg.Revoked = revoked
	s.auth = New(s.cfg)
	status, _, _ = s.whoami(cookie)
	require.Equal(t, http.StatusOK, status)
}

func TestValidity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		cookie := cookieOf(t, s.signIn(alice, "wonderland"))
		var valid func() bool
		stream := s.auth.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			valid = Validity(r.Context())
		}))
		r := httptest.NewRequest(http.MethodGet, "/events", nil)
		r.AddCookie(cookie)
		stream.ServeHTTP(httptest.NewRecorder(), r)
		require.True(t, valid())
		time.Sleep(lifetime)
		require.False(t, valid())

		cookie = cookieOf(t, s.signIn(alice, "wonderland"))
		r = httptest.NewRequest(http.MethodDelete, "/session", nil)
		r.AddCookie(cookie)
		stream.ServeHTTP(httptest.NewRecorder(), r)
		require.True(t, valid())
		r.URL.Path = "/session"
		s.do(r)
		require.False(t, valid())
	})
}

// A user who signs in too often gets a 429.
func TestSessionsOfAUserAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t)
		for range sessionsOfUser.Burst {
			require.Equal(t, http.StatusOK, s.signIn(alice, "wonderland").StatusCode)
		}
		resp := s.signIn(alice, "wonderland")
		require.Equal(t, http.StatusTooManyRequests, resp.StatusCode)
		require.Equal(t, "60", resp.Header.Get("Retry-After"))
		require.Equal(t, http.StatusOK, s.signIn("bob@example.com", "builder").StatusCode)
		time.Sleep(sessionsOfUser.Interval)
		require.Equal(t, http.StatusOK, s.signIn(alice, "wonderland").StatusCode)
	})
}

// Whom Dovecot knows under another name can sign in, and is told so each time
// the session is asked about.
func TestUnknownUser(t *testing.T) {
	s := newSite(t)
	unknown := true
	s.cfg.Unknown = func(_ context.Context, user string) bool { return unknown && user == alice }
	s.auth = New(s.cfg)
	notice := func(resp *http.Response) string {
		var session answer
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.NoError(t, json.Unmarshal([]byte(text(resp)), &session))
		return session.Notice
	}
	require.Empty(t, notice(s.signIn("bob@example.com", "builder")))
	resp := s.signIn("Alice@example.com", "wonderland")
	r := httptest.NewRequest(http.MethodGet, "/session", nil)
	r.AddCookie(cookieOf(t, resp))
	require.Contains(t, notice(resp), "Sign in with your main mail address.")
	require.Contains(t, notice(s.do(r)), "Sign in with your main mail address.")
	unknown = false
	require.Empty(t, notice(s.do(r)))
}
