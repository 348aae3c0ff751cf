// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// act takes any ticket, and answers with one that undoes it.
func (s *standIn) act(w http.ResponseWriter, r *http.Request) {
	var ticket map[string]any
	if err := json.NewDecoder(r.Body).Decode(&ticket); err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"status": http.StatusBadRequest})
		return
	}
	s.with(func() { s.actions = append(s.actions, ticket) })
	var undo map[string]any
	if ticket["action"] != "restore" {
		undo = map[string]any{"action": "restore", "token": "undo " + ticket["token"].(string), "expires": ticket["expires"]}
	}
	answer(w, http.StatusOK, map[string]any{"undo": undo})
}

// offered is a mail with which the server offers what can be done.
func offered(n int, from string, left time.Duration) mail {
	m := newMail(n, from, "Subject")
	offer := []map[string]string{}
	for _, action := range []string{"archive", "trash", "read", "a newer one"} {
		offer = append(offer, map[string]string{"action": action, "token": fmt.Sprint(action, " ", n)})
	}
	m.Actions = map[string]any{"user": user, "device": "phone", "expires": time.Now().Add(left).Unix(), "offer": offer}
	return m
}

// What is chosen on a notification is handed in, and can be undone for a moment; without
// a connection it is handed in later.
func TestActions(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	const buttons = "Archive\nDelete" // Chromium shows two
	inbox := func(from, body, buttons string) notification {
		return notification{Title: from, Body: body, Tag: "mail:INBOX", Lang: "en", Buttons: buttons}
	}
	report := func(title, body, buttons string) notification {
		return notification{Title: title, Body: body, Tag: "action", Lang: "en", Buttons: buttons}
	}
	// Only the user can do it. What is to close after a while does when the test says so.
	press := func(tag, action string) {
		t.Helper()
		s.inWorker(`globalThis.setTimeout = (task) => { globalThis.later = task; };
			const [notification] = await registration.getNotifications({tag: '` + tag + `'});
			dispatchEvent(new NotificationEvent('notificationclick', {notification, action: '` + action + `'}))`)
	}
	later := func() { s.inWorker("globalThis.later()") }
	handedIn := func(n int) map[string]any {
		t.Helper()
		var last map[string]any
		assert.Eventually(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			if len(s.actions) == n {
				last = s.actions[n-1]
			}
			return len(s.actions) >= n
		}, waitTimeout, waitTimeout/1000)
		return last
	}

	s.deliver(offered(1, "one@example.org", time.Hour))
	two := offered(2, "two@example.org", time.Hour)
	s.deliver(two)
	s.shown(inbox("two@example.org", "Subject\nand one more before", buttons))

	// It is about the mail that is named. The other one is left.
	press("mail:INBOX", "archive")
	expires := float64(two.Actions.(map[string]any)["expires"].(int64))
	assert.Equal(t, map[string]any{
		"user": user, "device": "phone", "action": "archive", "folder": "INBOX", "uid": 2.0, "uidValidity": 1.0, "expires": expires, "token": "archive 2",
	}, handedIn(1))
	s.shown(report("Archived", "two@example.org", "Undo"), inbox("one@example.org", "Subject", buttons))
	press("action", "undo")
	assert.Equal(t, map[string]any{"action": "restore", "token": "undo archive 2", "expires": expires}, handedIn(2))
	s.shown(report("Undone", "two@example.org", ""), inbox("one@example.org", "Subject", buttons))
	later()
	s.shown(inbox("one@example.org", "Subject", buttons))

	// Without a connection it is kept, until there is one.
	s.refuse("POST", "/api/actions", http.StatusServiceUnavailable, 0)
	press("mail:INBOX", "trash")
	kept := report("Not done yet", "It is done as soon as the server can be reached.", "Undo")
	s.shown(kept)
	press("action", "undo")
	s.shown(report("Undone", "one@example.org", ""))
	later()
	s.deliver(offered(3, "three@example.org", time.Hour))
	s.shown(inbox("three@example.org", "Subject", buttons))
	press("mail:INBOX", "trash")
	s.shown(kept)
	s.with(func() { s.refusal = nil })
	s.open(s.site)
	assert.Equal(t, "trash 3", handedIn(3)["token"], "what was undone is not handed in")
	s.shown()

	// What will never be good is said.
	s.deliver(offered(4, "four@example.org", time.Hour))
	s.shown(inbox("four@example.org", "Subject", buttons))
	s.refuse("POST", "/api/actions", http.StatusGone, 0)
	press("mail:INBOX", "archive")
	failed := report("That did not work", "The notification is too old for it. Open the mail instead.", "")
	s.shown(failed)
	s.with(func() { s.refusal = nil })

	// Neither an old mail has buttons, nor has a browser that shows none, as Safari.
	s.deliver(offered(5, "five@example.org", -time.Second))
	s.shown(failed, inbox("five@example.org", "Subject", ""))
	s.inWorker("Object.defineProperty(Notification, 'maxActions', {value: undefined, configurable: true}); for (const n of await registration.getNotifications()) n.close()")
	s.deliver(offered(6, "six@example.org", time.Hour))
	s.shown(inbox("six@example.org", "Subject", ""))
	s.with(func() { assert.Len(t, s.actions, 3) })
}
