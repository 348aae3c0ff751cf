// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// set fills in what cannot be typed the same in each browser.
func (p tab) set(selector, value string) {
	p.t.Helper()
	p.awaitVisible(selector)
	p.do(fmt.Sprintf("const e = document.querySelector(%q); e.value = %s; e.dispatchEvent(new Event('input', {bubbles: true}))", selector, quote(value)))
}

// stored are the preferences of the first device at the server.
func (p tab) stored() subscription.Preferences {
	p.t.Helper()
	return eval[subscription.Preferences](p, "fetch('api/subscriptions').then(r => r.json()).then(({subscriptions: [d]}) => d.preferences)")
}

// saved saves the sheet and waits until it is closed.
func (p tab) saved() {
	p.t.Helper()
	p.click("#preferences-save")
	p.await("!document.getElementById('preferences').open")
	p.await("document.activeElement.matches('.prefer')")
}

func (p tab) timeZone() string {
	p.t.Helper()
	return eval[string](p, "Intl.DateTimeFormat().resolvedOptions().timeZone")
}

// preferred sets each preference of the one device on its sheet. At first it has
// those of the operator.
func preferred(p tab) {
	assert.Equal(p.t, subscription.Preferences{Urgency: subscription.Normal}, p.stored())
	p.awaitText(".subscription .prefers", "Without sound")
	p.click(".subscription .prefer")
	p.awaitText("#preferences-title", "Notifications on this device")
	p.awaitText("#preview-title", "Town library")
	assert.True(p.t, p.visible("#preview-silent"))
	p.click("[name=content][value=thin]")
	p.awaitText("#preview-title", "New mail")
	p.click("#preferences-sound")
	assert.False(p.t, p.visible("#preview-silent"))
	p.click("#preferences-quiet summary")
	p.click("#quiet-on")
	p.set("#quiet-start", "21:30")
	p.set("#quiet-end", "06:15")
	p.click("#quiet-days [value=sa]")
	p.click("#quiet-days [value=su]")
	p.click("#preferences-senders summary")
	p.fill("#only-from", "Mia@example.net, @example.ORG")
	p.fill("#not-from", "service@example.org")
	p.click("#preferences-folders summary")
	p.click("[name=folders][value=some]")
	p.fill("#folder", "Lists/Go"+keyEnter)
	p.await("document.querySelector('#folders [value=\"Lists/Go\"]').checked")
	p.saved()
	want := subscription.Preferences{
		Content: "thin", Folders: []string{"INBOX", "Lists/Go"}, OnlyFrom: []string{"mia@example.net", "@example.org"}, NotFrom: []string{"service@example.org"},
		QuietHours: &subscription.QuietHours{Start: "21:30", End: "06:15", Days: []subscription.Day{"mo", "tu", "we", "th", "fr"}, TimeZone: p.timeZone()},
	}
	assert.Equal(p.t, want, p.stored())
	p.awaitText(".subscription .prefers", "only 2 senders, one sender left out, without sender and subject")

	p.click(".subscription .prefer")
	p.set("#preferences-mute", "forever")
	p.saved()
	want.MutedUntil = subscription.Forever
	assert.Equal(p.t, want, p.stored())
	p.awaitText(".subscription .until", "Muted until you turn it on again")
	p.click(".subscription .unmute")
	p.await("!document.querySelector('.subscription .mute').checkVisibility()")
	want.MutedUntil = subscription.Mute{}
	assert.Equal(p.t, want, p.stored())

	p.click(".subscription .prefer")
	p.click("#preferences-reset")
	p.saved()
	assert.Equal(p.t, subscription.Preferences{Urgency: subscription.Normal}, p.stored())
}

// Whatever goes wrong, nothing that somebody has typed is lost.
func TestPreferencesAreNotLost(t *testing.T) {
	s := newStage(t, "en")
	s.subscriptions = []*device{other(true, nil)}
	s.signedIn()
	s.awaitVisible(".prefer")
	s.click(".prefer")
	s.awaitText("#preferences-title", "Notifications on Firefox, Android")
	assert.Equal(t, "preferences-title", s.focused())

	// A mistake is shown where it is, also in a part that is closed.
	s.click("#preferences-senders summary")
	s.fill("#not-from", "eve@example.net, eve")
	s.click("#preferences-senders summary")
	s.click("#preferences-save")
	s.awaitText("#not-from-error", "“eve” is not an address")
	assert.Equal(t, "not-from", s.focused())
	assert.Equal(t, "true", eval[string](s.tab, "document.activeElement.ariaInvalid"))
	s.keys("@example.org")
	s.await("!document.querySelector('#not-from-error').checkVisibility()")
	assert.Nil(t, eval[any](s.tab, "document.activeElement.ariaInvalid"))
	s.click("#preferences-quiet summary")
	s.click("#quiet-on")
	s.set("#quiet-end", "")
	s.click("#preferences-save")
	s.awaitText("#preferences-quiet-error", "both times")
	s.set("#quiet-end", "07:00")
	s.click("#preferences-folders summary")
	s.click("[name=folders][value=some]")
	s.click("#folders [value=INBOX]")
	s.click("#preferences-save")
	s.awaitText("#preferences-folders-error", "at least one folder")
	s.fill("#folder", "Lists") // and not pressed "Add"

	// What is not saved is not thrown away by a slip.
	s.keys(keyEscape)
	s.awaitText("#confirm-title", "Discard changes?")
	s.keys(keyEscape)
	s.await("!document.getElementById('confirm').open")
	assert.True(t, s.visible("#preferences"))

	// Neither is it when the server does not answer, does not take it, or the session has ended.
	path := "/api/subscriptions/other"
	for status, text := range map[int]string{http.StatusServiceUnavailable: "does not answer", http.StatusTooManyRequests: "Please wait 7 seconds"} {
		s.refuse(http.MethodPatch, path, status, 7*time.Second)
		s.click("#preferences-save")
		s.awaitText("#preferences-error", text)
	}
	s.with(func() { s.refusal, s.refusedField = nil, "preferences.quietHours.timeZone" })
	s.click("#preferences-save")
	s.awaitText("#preferences-quiet-error", "does not know this time zone")
	assert.Equal(t, "quiet-zone", s.focused())
	s.with(func() { s.refusedField = ""; clear(s.sessions) })
	s.click("#preferences-save")
	s.awaitVisible("#sign-in")
	assert.False(t, s.visible("#preferences"))

	// Meanwhile another device has changed something else, and the same.
	s.with(func() {
		s.subscriptions[0].Preferences = subscription.Preferences{Urgency: subscription.Normal, NotFrom: []string{"mallory@example.net"}}
	})
	s.enter(user, password)
	s.awaitText("#preferences-note", "changed on another device")
	assert.False(t, eval[bool](s.tab, "document.querySelector('#preferences-sound').checked"))
	s.saved()
	s.with(func() {
		assert.Equal(t, subscription.Preferences{
			Urgency: subscription.Normal, NotFrom: []string{"eve@example.net", "eve@example.org"}, Folders: []string{"Lists"},
			QuietHours: &subscription.QuietHours{Start: "22:00", End: "07:00", TimeZone: s.timeZone()},
		}, s.subscriptions[0].Preferences)
	})

	// Without a change there is nothing to ask; and one that is removed is gone.
	s.click(".prefer")
	s.keys(keyEscape)
	s.await("document.activeElement.matches('.prefer')")
	s.click(".prefer")
	s.with(func() { s.subscriptions = nil })
	s.click("#preferences-sound")
	s.click("#preferences-save")
	s.awaitVisible("#devices-empty")
	assert.False(t, s.visible("#preferences"))
}

// A mute ends in the list as well, without a reload.
func TestMute(t *testing.T) {
	s := newStage(t, "en")
	s.subscriptions = []*device{other(true, nil)}
	s.signedIn()
	for choice, check := range map[string]func(time.Time){
		"hour":    func(until time.Time) { assert.WithinDuration(t, time.Now().Add(time.Hour), until, waitTimeout) },
		"morning": func(until time.Time) { assert.Equal(t, "07:00:00", until.Local().Format(time.TimeOnly)) },
	} {
		s.click(".prefer")
		s.set("#preferences-mute", choice)
		s.saved()
		s.awaitText(".until", "Muted until")
		s.with(func() {
			text, err := s.subscriptions[0].Preferences.MutedUntil.MarshalText()
			require.NoError(t, err)
			until, err := time.Parse(time.RFC3339, string(text))
			require.NoError(t, err)
			check(until)
		})
		s.click(".prefer")
		s.awaitText("#preferences-mute", "Muted until")
		s.saved()
	}
	s.with(func() {
		s.subscriptions[0].Preferences.MutedUntil = subscription.MuteUntil(time.Now().Add(3 * time.Second))
	})
	s.open(s.site)
	s.awaitVisible(".until")
	s.await("!document.querySelector('.until').checkVisibility()")
}

// What is offered is what the server allows for the kind of the device.
func TestWhatIsPreferred(t *testing.T) {
	s := newStage(t, "en")
	app := other(true, nil)
	app.Kind, app.App, app.MaxContent = "apns", "com.example.mail", "thin"
	s.subscriptions = []*device{app}
	s.signedIn()
	offered := func() []string {
		t.Helper()
		s.click(".prefer")
		s.awaitVisible("#preferences")
		values := eval[[]string](s.tab, "[...document.querySelectorAll('[name=content]')].filter(e => e.checkVisibility()).map(e => e.value + (e.checked ? '!' : ''))")
		return values
	}
	assert.Empty(t, offered(), "there is no choice")
	assert.True(t, s.visible("#preferences-app"))
	s.click("#preferences-cancel")
	for max, want := range map[string][]string{"sender": {"thin", "sender!"}, "full": {"thin", "sender", "full!"}, "": nil} {
		s.with(func() { app.MaxContent, app.Kind = max, "" })
		s.open(s.site)
		assert.ElementsMatch(t, want, offered(), max)
		assert.False(t, s.visible("#preferences-app"))
	}
	// More than the server allows by now is as much as it allows.
	s.with(func() { app.MaxContent, app.Preferences.Content, s.defaults.Content = "sender", "full", "full" })
	s.open(s.site)
	assert.Equal(t, []string{"thin", "sender!"}, offered())
	s.click("#preferences-reset")
	s.saved()
	s.with(func() { assert.Empty(t, app.Preferences) })
}

// The page takes for a sender and a folder what the server does.
func TestSendersAndFolders(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	accepted := func(what string, text any) bool {
		return eval[bool](s.tab, "(await import('./js/preferences.js'))."+what+"("+toJSON(t, text)+")")
	}
	for _, text := range []string{"alice@example.com", "@example.com", "alice@", "alice", "@", "a@b@c", "a<b@example.com", `a\b@example.com`, `"a"@example.com`, "ä@exämple.com", "a\u202e@example.com", "a@b\x01", "a:b@example.com"} {
		p := subscription.Preferences{OnlyFrom: []string{text}}
		assert.Equal(t, p.Check() == nil, accepted("isSender", text), text)
	}
	for _, text := range []string{"INBOX", "Lists/Go", "", "a\u202eb", "a\x7f", "עולם"} {
		p := subscription.Preferences{Folders: []string{text}}
		assert.Equal(t, p.Check() == nil, accepted("isFolder", text), text)
	}
	long := strings.Repeat("a", 100) + "@example.com"
	for n := range 60 {
		many := make([]string, n)
		for i := range many {
			many[i] = "a@example.com"
		}
		p := subscription.Preferences{OnlyFrom: many}
		if n == 19 {
			p.OnlyFrom[0] = strings.Repeat(long, 18)
		}
		if n > 16 && n < 22 || n > 48 && n < 53 {
			assert.Equal(t, p.Check() != nil, accepted("tooManySenders", p.OnlyFrom), n)
		}
	}
}

// The line of a device says what is set, in the words of the reader.
func TestSummary(t *testing.T) {
	for language, want := range map[string][]string{
		"en-GB": {"", "Quiet 22:00–07:00, only 3 senders", "Quiet 22:00–07:00 (Mon–Fri, Sun, Asia/Tokyo)", "Only Inbox, Lists, without sender and subject, without sound", "Only 3 folders, without text"},
		"de":    {"", "Ruhe 22:00–07:00, nur 3 Absender", "Ruhe 22:00–07:00 (Mo–Fr, So, Asia/Tokyo)", "Nur Posteingang, Lists, ohne Absender und Betreff, ohne Ton", "Nur 3 Ordner, ohne Text"},
	} {
		s := newStage(t, language)
		s.signedIn()
		night := subscription.QuietHours{Start: "22:00", End: "07:00", TimeZone: s.timeZone()}
		abroad := night
		abroad.TimeZone, abroad.Days = "Asia/Tokyo", []subscription.Day{"su", "mo", "tu", "we", "th", "fr"}
		var got []string
		for _, p := range []subscription.Preferences{
			{},
			{QuietHours: &night, OnlyFrom: []string{"a@b", "@c", "@d"}},
			{QuietHours: &abroad},
			{Folders: []string{"INBOX", "Lists"}, Content: "thin", Urgency: "normal"},
			{Folders: []string{"a", "b", "c"}, Content: "sender"},
		} {
			got = append(got, eval[string](s.tab, "(await import('./js/view/summary.js')).summary("+toJSON(t, p)+", 'full')"))
		}
		for i := range got {
			got[i] = strings.NewReplacer("\u2068", "", "\u2069", "").Replace(got[i]) // around names
		}
		assert.Equal(t, want, got)
	}
}
