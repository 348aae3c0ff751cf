// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// subjects are those in the list, the newest first.
func (s stage) subjects() []string {
	s.tab.t.Helper()
	return eval[[]string](s.tab, "[...document.querySelectorAll('.mail .subject')].map(e => e.textContent)")
}

func (s stage) awaitMails(n int) {
	s.tab.t.Helper()
	s.await(fmt.Sprintf("document.querySelectorAll('.mail').length === %d", n))
}

func TestMailsAsTheyCome(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.awaitText("#stream", "Live")
	assert.True(t, s.visible("#mails-empty"))

	s.emit("1", "mail", newMail(1, `"Berg, Jonas" <jonas@example.org>`, "Lunch?"))
	s.awaitMails(1)
	s.awaitText(".mail .from", "Berg, Jonas")
	s.awaitText(".day h3", "Today")
	assert.Equal(t, eval[string](s.tab, "new Date(document.querySelector('.mail time').dateTime).toLocaleTimeString('en', {timeStyle: 'short'})"), s.text(".mail time"))
	s.awaitText("#announcer", "New mail from Berg, Jonas: Lunch?")
	assert.False(t, s.visible("#mails-empty"))
	assert.False(t, s.visible(".mail .folder"))
	assert.Equal(t, "B", s.text(".mail .initial"))

	hostile := newMail(2, `<img src=x onerror=alert(1)> <evil@example.org>`, `<script>alert(1)</script>`)
	hostile.Folder = "Lists/Go"
	s.emit("2", "mail", hostile)
	s.emit("3", "mail", newMail(3, "", "")) // with content thin
	s.emit("3", "mail", newMail(3, "", "")) // again
	s.awaitMails(3)
	assert.Equal(t, []string{"New mail", `<script>alert(1)</script>`, "Lunch?"}, s.subjects())
	s.awaitText(".mail:nth-child(1) .from", "Unknown sender")
	s.awaitText(".mail:nth-child(2) .from", "<img src=x onerror=alert(1)>")
	s.awaitText(".mail:nth-child(2) .folder", "Lists/Go")

	// They are read and removed elsewhere.
	read := newMail(1, "", "")
	read.Event = "messageRead"
	s.emit("4", "change", read)
	s.await("document.querySelector('.mail:nth-child(3)').matches('.read')")
	removed := newMail(3, "", "")
	removed.Event = "messageExpunge"
	s.emit("5", "change", removed)
	s.awaitMails(2)
	assert.Equal(t, []string{`<script>alert(1)</script>`, "Lunch?"}, s.subjects())

	for i := 4; i <= 60; i++ {
		s.emit(fmt.Sprint(i), "mail", newMail(i, "a@example.org", fmt.Sprint("Number ", i)))
	}
	s.await("document.querySelector('.mail .subject').textContent === 'Number 60'")
	s.awaitMails(50)
}

// The list has what the server still knows, in its order and as it is by now;
// what came since the reader looked is marked.
func TestHistoryOfMails(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.awaitText("#stream", "Live")
	yesterday := newMail(1, "Mia Winter <mia@example.net>", "Yesterday")
	yesterday.Time = yesterday.Time.Add(-24 * time.Hour)
	before := newMail(2, "Mia Winter <mia@example.net>", "Long ago")
	before.Time = time.Date(2026, 2, 3, 12, 0, 0, 0, time.Local)
	s.emit("1", "mail", newMail(3, "Jonas Berg <jonas@example.org>", "One"))
	s.emit("2", "mail", yesterday) // found later
	s.emit("3", "mail", before)
	s.emit("4", "mail", newMail(4, "Jonas Berg <jonas@example.org>", "Removed"))
	s.emit("5", "mail", newMail(5, "Jonas Berg <jonas@example.org>", "Read"))
	s.awaitMails(5)
	for uid, event := range map[int]string{4: "messageExpunge", 5: "messageRead"} {
		change := newMail(uid, "", "")
		change.Event = event
		s.emit("6", "change", change)
	}
	s.awaitMails(4)
	days := "[...document.querySelectorAll('.day')].map(d => d.querySelector('h3').textContent + ': ' + [...d.querySelectorAll('.subject')].map(e => e.textContent))"
	want := []string{"Today: Read,One", "Yesterday: Yesterday", "Tuesday, February 3: Long ago"}
	assert.Equal(t, want, eval[[]string](s.tab, days))
	marked := "[...document.querySelectorAll('.mail:has(.mark:not([hidden])) .subject')].map(e => e.textContent)"
	assert.Equal(t, []string{"One", "Yesterday", "Long ago"}, eval[[]string](s.tab, marked))

	s.open(s.site)
	s.awaitMails(4)
	assert.Equal(t, want, eval[[]string](s.tab, days))
	assert.Empty(t, eval[[]string](s.tab, marked), "they were seen")
	s.awaitText("#announcer", "Know when mail arrives")
	s.emit("7", "mail", newMail(6, "Jonas Berg <jonas@example.org>", "Two"))
	s.awaitText("#announcer", "New mail from Jonas Berg: Two")
	assert.Equal(t, []string{"Two"}, eval[[]string](s.tab, marked))
	assert.Equal(t, "New", eval[string](s.tab, "document.querySelector('.mark').ariaLabel"))
	s.open(s.site)
	s.awaitMails(5)
	s.awaitText("#announcer", "Know when mail arrives") // and not the history
}

// Who was away for longer than the server remembers gets what it still knows.
func TestAwayForDays(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.awaitText("#stream", "Live")
	s.emit("1", "mail", newMail(1, "a@example.org", "Days ago"))
	s.awaitMails(1)
	s.with(func() { s.history = nil })
	s.emit("2", "mail", newMail(2, "a@example.org", "An hour ago"))
	s.awaitMails(2)
	s.emit("3", "reset", struct{}{})
	s.awaitText("#mails-missed", "some mail is missing")
	s.awaitStream(beginning)
	s.awaitMails(1)
	assert.Equal(t, []string{"An hour ago"}, s.subjects())
}

// Mails are links where there is something to open.
func TestMailsAreLinks(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.awaitText("#stream", "Live")
	s.emit("1", "mail", newMail(1, "a@example.org", "One"))
	s.awaitMails(1)
	assert.False(t, eval[bool](s.tab, "document.querySelector('.row').matches(':any-link')"))
	s.with(func() { s.config["webmailURL"] = "https://webmail.example.com/" })
	s.open(s.site)
	s.awaitMails(1)
	assert.Equal(t, "https://webmail.example.com/", eval[string](s.tab, "document.querySelector('.row').href"))
}

// On a phone a long list does not hide what is below it.
func TestManyMailsOnAPhone(t *testing.T) {
	s := newStage(t, "en")
	s.chromium.look(390, 844, "light")
	s.signedIn()
	s.awaitText("#stream", "Live")
	for i := range 50 {
		s.emit(fmt.Sprint(i), "mail", newMail(i, "a@example.org", fmt.Sprint("Number ", i)))
	}
	s.awaitMails(50)
	seen := "[...document.querySelectorAll('.mail')].filter(e => e.checkVisibility()).length"
	assert.Equal(t, 6, eval[int](s.tab, seen))
	assert.Less(t, eval[float64](s.tab, "document.getElementById('devices-card').getBoundingClientRect().top + scrollY"), 1300.)
	s.awaitText("#mails-all", "Show all 50")
	s.click("#mails-all")
	s.awaitText("#mails-all", "Show fewer")
	assert.Equal(t, 50, eval[int](s.tab, seen))
	s.click("#mails-all")
	assert.Equal(t, 6, eval[int](s.tab, seen))
	s.chromium.look(1280, 844, "light")
	assert.Equal(t, 50, eval[int](s.tab, seen))
	assert.False(t, s.visible("#mails-all"))
}

// The connection comes and goes; no mail is lost, none is there twice.
func TestStreamResumes(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.awaitText("#stream", "Live")
	s.emit("id-1", "mail", newMail(1, "a@example.org", "One"))
	s.awaitMails(1)

	s.cut()
	s.awaitText("#stream", "Live")
	s.awaitStream("id-1")
	s.emit("id-1", "mail", newMail(1, "a@example.org", "One"))
	s.emit("id-2", "mail", newMail(2, "a@example.org", "Two"))
	s.awaitMails(2)
	assert.Equal(t, []string{"Two", "One"}, s.subjects())
	assert.False(t, s.visible("#mails-missed"))

	s.emit("id-9", "reset", struct{}{})
	s.awaitText("#mails-missed", "some mail is missing")
}

// awaitStream waits until the page listens from this position on.
func (s stage) awaitStream(lastID string) {
	s.tab.t.Helper()
	require.Eventually(s.tab.t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.streams) > 0 && s.streamed[len(s.streamed)-1] == lastID
	}, waitTimeout, waitTimeout/1000)
}

// A browser does not reconnect automatically to a server that refuses a stream.
func TestStreamIsRefused(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.awaitText("#stream", "Live")
	s.emit("id-1", "mail", newMail(1, "a@example.org", "One"))
	s.awaitMails(1)
	s.refuse(http.MethodGet, "/api/events", http.StatusServiceUnavailable, 0)
	s.cut()
	s.awaitText("#stream", "Reconnecting…")
	s.refuse("", "", 0, 0)
	s.awaitText("#stream", "Live")
	s.awaitStream("id-1")
	s.emit("id-2", "mail", newMail(2, "a@example.org", "Two"))
	s.awaitMails(2)
}
