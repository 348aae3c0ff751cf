// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestSignIn(t *testing.T) {
	s := newStage(t, "en")
	s.open(s.site)
	s.awaitVisible("#sign-in")
	assert.Equal(t, "New mail", eval[string](s.tab, "document.title"))
	assert.False(t, s.visible("#mails-card"))

	s.enter(user, "wrong")
	s.awaitText("#sign-in-error", "do not match")
	assert.Equal(t, "password", s.focused())
	assert.Equal(t, "true", eval[string](s.tab, "document.getElementById('password').ariaInvalid"))

	for _, refusal := range []struct {
		status     int
		retryAfter time.Duration
		text       string
	}{
		{http.StatusTooManyRequests, 90 * time.Second, "Please wait 90 seconds"},
		{http.StatusTooManyRequests, 5 * time.Minute, "Please wait 5 minutes"},
		{http.StatusTooManyRequests, 0, "Please wait a while"},
		{http.StatusServiceUnavailable, 0, "mail server does not answer"},
		{http.StatusInternalServerError, 0, "could not do it"},
	} {
		s.refuse(http.MethodPost, "/api/session", refusal.status, refusal.retryAfter)
		s.enter(user, password)
		s.awaitText("#sign-in-error", refusal.text)
	}
	s.refuse("", "", 0, 0)

	s.enter("  "+user+" ", password)
	s.awaitText("#user", user)
	s.awaitVisible("#device-title")
	assert.False(t, s.visible("#sign-in"))
	assert.Equal(t, "device-title", s.focused())
	assert.Empty(t, eval[string](s.tab, "document.getElementById('password').value"))

	// It lasts, until the server says otherwise.
	s.open(s.site)
	s.awaitText("#user", user)
	s.with(func() { clear(s.sessions) })
	s.cut()
	s.awaitText("#sign-in-note", "You have been signed out")
	assert.False(t, s.visible("#mails-card"))
	assert.False(t, s.visible("#user"))
}

// Whom the mail server knows under another name is told so, at every visit.
func TestUnknownUser(t *testing.T) {
	s := newStage(t, "en")
	s.open(s.site)
	s.awaitVisible("#sign-in")
	assert.False(t, s.visible("#unknown-user"))
	s.with(func() { s.notice = "in words for programs" })
	s.enter(user, password)
	s.awaitText("#unknown-user", "sign in with your main mail address")
	s.open(s.site)
	s.awaitText("#unknown-user", "sign in with your main mail address")
	s.with(func() {
		s.notice = ""
		clear(s.sessions)
	})
	s.open(s.site)
	s.awaitVisible("#sign-in")
	assert.False(t, s.visible("#unknown-user"))
	s.enter(user, password)
	s.awaitText("#user", user)
	assert.False(t, s.visible("#unknown-user"))
}

func TestPasswordCanBeShown(t *testing.T) {
	s := newStage(t, "en")
	s.open(s.site)
	s.fill("#password", "secret")
	kind := func() string { return eval[string](s.tab, "document.getElementById('password').type") }
	assert.Equal(t, "password", kind())
	s.click("#reveal")
	assert.Equal(t, "text", kind())
	assert.Equal(t, "true", eval[string](s.tab, "document.getElementById('reveal').ariaPressed"))
	s.click("#reveal")
	assert.Equal(t, "password", kind())
}

func TestSignOut(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.turnedOn()
	s.click("#sign-out")
	s.awaitText("#confirm-text", "also turns off notifications")
	s.keys(keyEscape)
	s.await("!document.getElementById('confirm').open")
	assert.True(t, s.visible("#mails-card"))
	assert.Equal(t, "sign-out", s.focused())

	s.click("#sign-out")
	s.click("#confirm-yes")
	s.awaitVisible("#sign-in")
	assert.Equal(t, "username", s.focused())
	s.with(func() {
		assert.Empty(t, s.sessions)
		assert.Empty(t, s.subscriptions)
	})
	assert.True(t, eval[bool](s.tab, "localStorage.getItem('test:push') === null"), "the browser is still subscribed")
}

// Where nothing is lost, nobody is asked.
func TestSignOutOfNothing(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.awaitState("off")
	s.click("#sign-out")
	s.awaitVisible("#sign-in")
	assert.Equal(t, "username", s.focused())
	s.awaitText("#sign-in-server", "Your password goes to 127.0.0.1:")
	s.with(func() { assert.Empty(t, s.sessions) })
}

// With login caddy the page does not ask for a password.
func TestSignInElsewhere(t *testing.T) {
	s := newStage(t, "en")
	s.config["login"] = "caddy"
	s.open(s.site)
	s.awaitText("#trouble-title", "You are not signed in")
	assert.False(t, s.visible("#sign-in"))

	s.with(func() { s.sessions["elsewhere"] = true })
	s.do("document.cookie = 'session=elsewhere; path=/push/'")
	s.click("#trouble-again")
	s.awaitText("#user", user)
	assert.False(t, s.visible("#sign-out"))
	s.awaitVisible("#device-do")
}

// A portal that redirects to its login page is understood as well.
func TestSignInAtAPortal(t *testing.T) {
	s := newStage(t, "en")
	s.config["login"] = "caddy"
	s.refuse(http.MethodGet, "/api/session", http.StatusFound, 0)
	s.open(s.site)
	s.awaitText("#trouble-title", "You are not signed in")
}

func TestServerIsDown(t *testing.T) {
	s := newStage(t, "en")
	s.refuse("", "/api/config", http.StatusBadGateway, 0)
	s.open(s.site)
	s.awaitText("#trouble-text", "does not answer")
	assert.Equal(t, "trouble-title", s.focused())
	s.refuse("", "", 0, 0)
	s.click("#trouble-again")
	s.awaitVisible("#sign-in")
	assert.False(t, s.visible("#trouble"))
}

func TestWebmailLink(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	assert.False(t, s.visible("#webmail"))
	s.with(func() { s.config["webmailURL"] = "https://webmail.example.com/" })
	s.open(s.site)
	s.awaitVisible("#webmail")
	assert.Equal(t, "https://webmail.example.com/", eval[string](s.tab, "document.getElementById('webmail').href"))
}
