// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Over HTTP/1.1, where a browser opens six connections to a site, more tabs than
// that all have the mails, over one stream, whichever tab is closed.
func TestManyTabs(t *testing.T) {
	s := newStage(t, "en")
	tabs := []stage{s}
	for range 7 {
		c := startChromium(t, "en")
		tabs = append(tabs, stage{tab: tab{window: c, t: t}, standIn: s.standIn, chromium: c})
	}
	s.signedIn()
	s.awaitText("#stream", "Live")
	s.emit("1", "mail", newMail(1, "a@example.org", "One"))
	for _, other := range tabs {
		other.open(s.site)
		other.awaitText("#stream", "Live")
		other.awaitMails(1)
	}
	s.emit("2", "mail", newMail(2, "a@example.org", "Two"))
	for _, other := range tabs {
		other.awaitMails(2)
		assert.Equal(t, []string{"Two", "One"}, other.subjects())
	}
	streams := func() (n int) {
		s.with(func() { n = len(s.streams) })
		return n
	}
	assert.Equal(t, 1, streams())

	// The one that was connected is closed: another goes on where it was.
	var left stage
	for i := range 3 {
		leader := leaderOf(tabs)
		left = tabs[leader]
		id := fmt.Sprint(3 + i)
		tabs[leader].open("about:blank")
		tabs = append(tabs[:leader], tabs[leader+1:]...)
		s.awaitStream(fmt.Sprint(2 + i))
		require.Eventually(t, func() bool { return streams() == 1 }, waitTimeout, waitTimeout/1000)
		s.emit(id, "mail", newMail(3+i, "a@example.org", "Number "+id))
		for _, other := range tabs {
			other.awaitMails(3 + i)
			other.awaitText("#stream", "Live")
		}
	}
	assert.Equal(t, 1, streams())

	// Who goes back to a page has what came meanwhile.
	s.emit("6", "mail", newMail(6, "a@example.org", "Number 6"))
	left.chromium.back()
	left.awaitText("#stream", "Live")
	left.awaitMails(6)
	assert.Equal(t, 1, streams())
}

// A tab that is looked at does not wait for one that is suspended.
func TestSuspendedTab(t *testing.T) {
	s := newStage(t, "en")
	c := startChromium(t, "en")
	other := stage{tab: tab{window: c, t: t}, standIn: s.standIn, chromium: c}
	s.signedIn()
	s.awaitText("#stream", "Live")
	s.emit("1", "mail", newMail(1, "a@example.org", "One"))
	s.awaitMails(1)
	// What a suspended tab does is nothing, with the lock in its hands.
	s.do("BroadcastChannel.prototype.postMessage = () => {}")
	other.open(s.site)
	other.awaitText("#stream", "Live")
	other.awaitMails(1)
	s.await("document.querySelectorAll('.mail').length === 1")
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.streams) == 1
	}, waitTimeout, waitTimeout/1000, "it has let go")
	s.emit("2", "mail", newMail(2, "a@example.org", "Two"))
	other.awaitMails(2)
	s.awaitMails(2) // it wakes up, as a follower
}

// leaderOf is the tab that holds the lock of the stream.
func leaderOf(tabs []stage) int {
	for i, p := range tabs {
		if eval[bool](p.tab, `(async () => {
			const {held} = await navigator.locks.query();
			const own = await new Promise(resolve => navigator.locks.request(crypto.randomUUID(), async ({name}) => {
				const {held} = await navigator.locks.query();
				resolve(held.find(lock => lock.name === name).clientId);
			}));
			return held.some(lock => lock.name.startsWith('stream ') && lock.clientId === own);
		})()`) {
			return i
		}
	}
	tabs[0].tab.t.Fatal("no tab is connected")
	return 0
}
