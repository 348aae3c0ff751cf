// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"fmt"
	"net/http"
	"testing"

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
	s.awaitText(".mail time", "just now")
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
