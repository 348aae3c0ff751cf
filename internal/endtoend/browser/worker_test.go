// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// deliver has the service worker receive a push with this message.
func (s stage) deliver(message any) {
	s.tab.t.Helper()
	s.chromium.deliver(s.site, toJSON(s.tab.t, message))
}

// inWorker runs statements in the service worker.
func (s stage) inWorker(statements string) {
	s.tab.t.Helper()
	targets, err := chromedp.Targets(s.chromium.ctx)
	require.NoError(s.tab.t, err)
	for _, target := range targets {
		if target.Type == "service_worker" && target.URL == s.site+"sw.js" {
			ctx, cancel := chromedp.NewContext(s.chromium.ctx, chromedp.WithTargetID(target.TargetID), chromedp.WithDetachOnCancel())
			defer cancel()
			ctx, end := context.WithTimeout(ctx, waitTimeout)
			defer end()
			_, err := chromedp.Run(ctx, chromedp.Evaluate[string]("(async () => {"+statements+"\nreturn '';})()", chromedp.EvalAwaitPromise))
			require.NoError(s.tab.t, err)
			return
		}
	}
	s.tab.t.Fatal("there is no service worker")
}

// shown waits until exactly these notifications are shown.
func (s stage) shown(want ...notification) {
	s.tab.t.Helper()
	got, want := []notification{}, append([]notification{}, want...)
	if !assert.Eventually(s.tab.t, func() bool {
		got = s.notifications()
		return assert.ObjectsAreEqual(want, got)
	}, waitTimeout, notificationsEvery) {
		assert.Equal(s.tab.t, want, got)
	}
}

// awaitBody waits until the one notification begins so.
func (s stage) awaitBody(begins string) {
	s.tab.t.Helper()
	require.Eventually(s.tab.t, func() bool {
		shown := s.notifications()
		return len(shown) == 1 && strings.HasPrefix(shown[0].Body, begins)
	}, waitTimeout, notificationsEvery)
}

func TestNotifications(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	one := newMail(1, "Mia Winter <mia@example.net>", "Photos")
	inbox := func(title, body string) notification {
		return notification{Title: title, Body: body, Tag: "mail:INBOX", Lang: "en"}
	}

	s.deliver(one)
	s.shown(inbox("Mia Winter", "Photos"))
	s.deliver(one) // delivered again
	s.shown(inbox("Mia Winter", "Photos"))

	// A newer one takes the place of the older, and tells of it.
	two := newMail(2, "jonas@example.org", "Lunch?")
	two.Snippet = "At the usual place, at noon."
	s.deliver(two)
	s.shown(inbox("jonas@example.org", "Lunch?\nAt the usual place, at noon.\nand one more before"))
	s.deliver(newMail(3, "", "")) // with content thin
	s.shown(inbox("New mail", "and 2 more before"))

	// Another folder has its own.
	filed := newMail(4, "list@example.org", "")
	filed.Folder = "Lists/Go"
	s.deliver(filed)
	lists := notification{Title: "list@example.org in Lists/Go", Body: "No subject", Tag: "mail:Lists/Go", Lang: "en"}
	s.shown(inbox("New mail", "and 2 more before"), lists)

	// Of a burst the server pushes only some; Dovecot has counted all.
	burst := newMail(9, "a@example.org", "The last")
	s.deliver(burst)
	s.shown(inbox("a@example.org", "The last\nand 8 more before"), lists)

	// What was cleared is not told of any more.
	s.do("for (const n of await (await navigator.serviceWorker.ready).getNotifications()) n.close()")
	s.shown()
	s.deliver(newMail(7, "", ""))
	s.shown(inbox("New mail", "7 unread mails"))
}

// A mail that was read or removed elsewhere takes its notification along.
func TestNotificationsAreWithdrawn(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	elsewhere := func(n int, event string) mail {
		m := newMail(n, "", "")
		m.ID, m.Event = fmt.Sprint(event, n), event
		return m
	}
	inbox := func(title, body string) notification {
		return notification{Title: title, Body: body, Tag: "mail:INBOX", Lang: "en"}
	}
	s.deliver(newMail(1, "a@example.org", "One"))
	s.deliver(newMail(2, "a@example.org", "Two"))
	s.deliver(newMail(3, "a@example.org", "Three"))
	s.shown(inbox("a@example.org", "Three\nand 2 more before"))

	s.deliver(elsewhere(77, "messageRead")) // that nobody was notified of
	s.deliver(elsewhere(3, "flagsSet"))
	other := elsewhere(3, "messageRead")
	other.UIDValidity = 2 // of a folder that was made again
	s.deliver(other)
	s.shown(inbox("a@example.org", "Three\nand 2 more before"))

	s.deliver(elsewhere(3, "messageRead"))
	s.shown(inbox("a@example.org", "Two\nand one more before"))
	s.deliver(elsewhere(1, "messageExpunge"))
	s.shown(inbox("a@example.org", "Two"))
	s.deliver(elsewhere(2, "messageTrash"))
	s.shown()
	s.deliver(newMail(4, "a@example.org", "Four"))
	s.shown(inbox("a@example.org", "Four"))
}

// What came in quiet hours is one notification beside what was shown before. All of it
// goes when nothing is unseen any more.
func TestNotificationAfterQuietHours(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	before := notification{Title: "a@example.org", Body: "Before", Tag: "mail:INBOX", Lang: "en"}
	summary := func(title, body string) notification {
		return notification{Title: title, Body: body, Tag: "summary", Lang: "en"}
	}
	message := func(count, unseen, others int, from ...string) map[string]any {
		m := map[string]any{"@type": "Summary", "id": fmt.Sprint(count), "count": count, "unseen": unseen}
		if len(from) > 0 {
			m["from"], m["others"] = from, others
		}
		return m
	}
	s.deliver(newMail(1, "a@example.org", "Before"))
	s.shown(before)
	s.deliver(message(12, 13, 3, "Anna", "Bob"))
	s.shown(before, summary("12 new mails", "From Anna, Bob and 3 others"))
	more := message(100, 213, 0)
	more["more"] = true
	s.deliver(more)
	s.shown(before, summary("100+ new mails", ""))
	s.deliver(message(1, 1, 0, "Anna"))
	s.shown(before, summary("One new mail", "From Anna"))
	s.deliver(message(0, 0, 0))
	s.shown()

	s.deliver(newMail(2, "a@example.org", "Before"))
	s.deliver(message(2, 3, 1, "Anna", "Bob"))
	s.shown(before, summary("2 new mails", "From Anna, Bob and one other"))
	s.deliver(map[string]any{"@type": "Mail", "id": "read", "event": "messageRead", "folder": "INBOX", "uid": 9, "uidValidity": 1, "unseen": 0})
	s.shown()
}

// A push without a payload, or with one that nobody understands, still means
// that there is mail; and a browser wants to see a notification for each.
func TestPushWithoutMeaning(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	for _, payload := range []string{"", "no JSON", `{"@type":"SomethingElse"}`} {
		s.chromium.deliver(s.site, payload)
		s.awaitNotification("New mail")
		s.do("for (const n of await (await navigator.serviceWorker.ready).getNotifications()) n.close()")
		s.shown()
	}
}

// A browser that reads declarative messages hands over the notification that it would
// show, and need not hand over the message.
func TestDeclaredPush(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.deliver(newMail(1, "mia@example.net", "Photos"))
	s.awaitNotification("mia@example.net")
	declared := func(title, body string, data mail) {
		s.inWorker(`const push = new PushEvent('push');
			Object.defineProperty(push, 'notification', {value: ` + toJSON(t, map[string]any{"title": title, "body": body, "data": data}) + `});
			dispatchEvent(push)`)
	}
	declared("Jonas", "Lunch?\nAt noon.", newMail(2, "", ""))
	s.shown(notification{Title: "Jonas", Body: "Lunch?\nAt noon.\nand one more before", Tag: "mail:INBOX", Lang: "en"})
	read := newMail(2, "", "")
	read.ID, read.Event = "read", "messageRead"
	declared("You are up to date", "", read)
	s.shown(notification{Title: "mia@example.net", Body: "Photos", Tag: "mail:INBOX", Lang: "en"})
}

// What the server declares to be silent is, whether or not the browser has read that
// itself; and what comes next is not.
func TestSilentPush(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	declared := func(n int, silent bool) map[string]any {
		return map[string]any{"title": "Mia", "body": fmt.Sprint("Photo ", n), "silent": silent, "data": newMail(n, "", "")}
	}
	silent := func(n int) bool {
		t.Helper()
		s.awaitBody(fmt.Sprint("Photo ", n))
		return eval[bool](s.tab, "navigator.serviceWorker.ready.then(r => r.getNotifications()).then(([n]) => n.silent)")
	}
	push := func(n int, quiet bool) {
		message := newMail(n, "mia@example.net", fmt.Sprint("Photo ", n))
		s.deliver(struct {
			mail
			Notification any `json:"notification"`
		}{message, declared(n, quiet)})
	}
	push(1, true)
	assert.True(t, silent(1))
	push(2, false)
	assert.False(t, silent(2))
	s.inWorker(`const push = new PushEvent('push');
		Object.defineProperty(push, 'notification', {value: ` + toJSON(t, declared(3, true)) + `});
		dispatchEvent(push)`)
	assert.True(t, silent(3))
}

// A notification that the browser has shown without the service worker opens the page
// at its mail, and that the webmail.
func TestNotificationOpensThePage(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	at := s.site + "#folder=INBOX&uid=7"
	s.open(at)
	s.awaitState("off") // there is no webmail
	assert.Equal(t, s.site, eval[string](s.tab, "location.href"))
	webmail := strings.TrimSuffix(s.site, "/push/") + "/webmail/"
	s.with(func() { s.config["webmailURL"] = "/webmail/" })
	s.open("about:blank")
	s.open(at)
	s.await("location.href === '" + webmail + "'")

	s.open(s.site)
	s.awaitState("off")
	s.do("location.hash = 'folder=INBOX&uid=7'") // the page was open
	s.await("location.href === '" + webmail + "'")
}

func TestNotificationsInGerman(t *testing.T) {
	s := newStage(t, "de-AT")
	s.signedIn()
	s.deliver(newMail(1, "", ""))
	s.shown(notification{Title: "Neue Mail", Body: "Eine ungelesene Mail", Tag: "mail:INBOX", Lang: "de"})
	s.deliver(newMail(2, "mia@example.net", "Fotos"))
	s.shown(notification{Title: "mia@example.net", Body: "Fotos\nund eine weitere davor", Tag: "mail:INBOX", Lang: "de"})
}

// A touch on a notification for mail leads to the webmail, on others to the page.
func TestTouchedNotification(t *testing.T) {
	s := newStage(t, "en")
	s.config["webmailURL"] = "https://webmail.example.com/inbox"
	s.signedIn()
	s.turnedOn()
	s.awaitNotification("Notifications are on")
	s.deliver(newMail(1, "mia@example.net", "Photos"))
	s.awaitNotification("mia@example.net")
	touch := func(tag string) string {
		// Only the user can do it; and only then may a window be opened.
		s.inWorker(`clients.openWindow = async url => { await (await caches.open('test')).put('opened', new Response(url)); };
			WindowClient.prototype.focus = async function () { await (await caches.open('test')).put('opened', new Response('focus ' + this.url)); };
			const [notification] = await registration.getNotifications({tag: '` + tag + `'});
			dispatchEvent(new NotificationEvent('notificationclick', {notification}))`)
		s.await("await (await caches.open('test')).match('opened')")
		opened := eval[string](s.tab, "(async c => (await c.match('opened')).text())(await caches.open('test'))")
		s.do("await caches.delete('test')")
		return opened
	}
	assert.Equal(t, "https://webmail.example.com/inbox", touch("mail:INBOX"))
	assert.Equal(t, "focus "+s.site, touch("device"))
	s.shown()

	// The newest of several mails is opened, where the server has said how.
	s.with(func() { s.config["mailURL"] = "https://webmail.example.com/{user}/#{folder}/{uid}" })
	s.open(s.site)
	s.awaitState("on")
	for n := range 2 {
		filed := newMail(n+1, "mia@example.net", "More")
		filed.Folder = "Lists/Go & C"
		s.deliver(filed)
	}
	s.shown(notification{Title: "mia@example.net in Lists/Go & C", Body: "More\nand one more before", Tag: "mail:Lists/Go & C", Lang: "en"})
	assert.Equal(t, "https://webmail.example.com/alice%40example.com/#Lists%2FGo%20%26%20C/2", touch("mail:Lists/Go & C"))
	s.deliver(newMail(0, "mia@example.net", "Which Dovecot did not know the UID of"))
	s.awaitNotification("mia@example.net")
	assert.Equal(t, "https://webmail.example.com/inbox", touch("mail:INBOX"))

	s.with(func() { s.config["webmailURL"], s.config["mailURL"] = nil, nil })
	s.open(s.site)
	s.awaitState("on")
	s.deliver(newMail(2, "mia@example.net", "More photos"))
	s.awaitNotification("mia@example.net")
	assert.Equal(t, "focus "+s.site, touch("mail:INBOX"))
}

// The push service moved the subscription while the page was closed.
func TestSubscriptionChanges(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.turnedOn()
	before := *s.subscriptions[0]
	s.open("about:blank")
	s.deliver(newMail(1, "a@example.org", "")) // wakes the worker up
	s.inWorker(`const change = new ExtendableEvent('pushsubscriptionchange');
		change.newSubscription = {toJSON: () => ({endpoint: 'https://push.example.org/new', keys: {p256dh: 'new key', auth: 'new auth'}})};
		dispatchEvent(change)`)
	assert.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.subscriptions[0].endpoint == "https://push.example.org/new"
	}, waitTimeout, waitTimeout/1000)
	s.mu.Lock()
	defer s.mu.Unlock()
	assert.Equal(t, before.ID, s.subscriptions[0].ID)
	assert.Equal(t, "new key", s.subscriptions[0].p256dh)
}

// The browser has ended the subscription, and does not say by which one to replace it.
func TestSubscriptionEnds(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.turnedOn()
	before := s.subscriptions[0].ID
	s.open("about:blank")
	s.deliver(newMail(1, "a@example.org", "")) // wakes the worker up
	s.inWorker(`PushManager.prototype.subscribe = async ({applicationServerKey}) => ({
			toJSON: () => ({endpoint: 'https://push.example.org/' + applicationServerKey, keys: {p256dh: 'new key', auth: 'new auth'}})});
		dispatchEvent(new ExtendableEvent('pushsubscriptionchange'))`)
	assert.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.subscriptions[0].endpoint == "https://push.example.org/"+serverKey
	}, waitTimeout, waitTimeout/1000)
	s.mu.Lock()
	defer s.mu.Unlock()
	assert.Equal(t, before, s.subscriptions[0].ID)
	assert.Equal(t, []string{s.site, "en"}, []string{s.subscriptions[0].page, s.subscriptions[0].lang})
}

// The icon and the title have the number of unseen mails of the INBOX, whatever the
// page itself has seen of them.
func TestUnseen(t *testing.T) {
	const badge = `navigator.setAppBadge = async n => {
			const cache = await caches.open('test');
			const before = await (await cache.match('badge'))?.text() ?? '';
			await cache.put('badge', new Response(before + n + ' '));
		};
		navigator.clearAppBadge = () => navigator.setAppBadge(0);`
	s := newStage(t, "en")
	s.signedIn()
	s.awaitText("#stream", "Live")
	shown := func(numbers string) {
		t.Helper()
		s.await("await (await (await caches.open('test')).match('badge'))?.text() === '" + numbers + " '")
	}
	elsewhere := func(n, unseen int, event string) mail {
		m := newMail(n, "", "")
		m.ID, m.Event, m.Unseen = fmt.Sprint(event, n), event, unseen
		return m
	}
	s.do(badge)
	s.emit("1", "mail", newMail(3, "a@example.org", "Three"))
	shown("3")
	s.await("document.title === '(3) New mail'")
	filed := newMail(9, "a@example.org", "Filed")
	filed.Folder = "Lists/Go"
	s.emit("2", "mail", filed)
	s.emit("3", "change", elsewhere(3, 2, "messageRead"))
	shown("3 2")
	s.await("document.title === '(2) New mail'")

	s.deliver(newMail(4, "a@example.org", "Four")) // wakes the worker up
	s.awaitNotification("a@example.org")
	s.inWorker(badge)
	s.deliver(newMail(5, "a@example.org", "Five"))
	shown("3 2 5")
	s.deliver(filed)
	s.deliver(elsewhere(5, 4, "messageRead"))
	shown("3 2 5 4")

	s.click("#sign-out")
	s.awaitVisible("#sign-in")
	shown("3 2 5 4 0")
	s.await("document.title === 'New mail'")
}
