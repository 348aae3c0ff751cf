// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const someDate = "Mon, 23 Nov 2026 16:16:18 GMT"

// The values are part of what others store: a change of them makes every
// notification in flight another one.
func TestIdentityIsStable(t *testing.T) {
	n := decode(t, small)
	id, window := n.Identity([]byte(small), someDate)
	require.Equal(t, "7cb79e129b434444e22352159e16b007", id.String())
	require.Equal(t, KnownUIDWindow, window)

	n.UID = 0
	id, window = n.Identity([]byte(small), someDate)
	require.Equal(t, "879f9580bb9c65ea7a941d474af0d5c1", id.String())
	require.Equal(t, UnknownUIDWindow, window)
}

func TestIdentityOfARetry(t *testing.T) {
	retries := 0
	for _, first := range fixtures(t) {
		if !strings.HasSuffix(first.name, "-attempt1.http") {
			continue
		}
		retries++
		again := fixture(t, strings.Replace(first.name, "attempt1", "attempt2", 1))
		n1, err := new(Decoder).Decode(first.body)
		require.NoError(t, err)
		n2, err := new(Decoder).Decode(again.body)
		require.NoError(t, err)
		id1, _ := n1.Identity(first.body, first.date)
		id2, _ := n2.Identity(again.body, again.date)
		require.Equal(t, id1, id2, first.name)

		n1.UID, n2.UID = 0, 0 // the same mail, had Dovecot not known its UID
		id1, window := n1.Identity(first.body, first.date)
		id2, _ = n2.Identity(again.body, again.date)
		require.Equal(t, id1, id2, first.name)
		require.Equal(t, UnknownUIDWindow, window)
	}
	require.Equal(t, 5, retries)
}

// Two notifications have one identity if, and only if, they are of one message.
func TestIdentityOfFixtures(t *testing.T) {
	type message struct {
		user, folder     string
		uidValidity, uid uint32
	}
	messages := map[Identity]message{}
	identities := map[message]Identity{}
	for _, f := range fixtures(t) {
		n, err := new(Decoder).Decode(f.body)
		if err != nil {
			require.ErrorIs(t, err, ErrUnusedEvent)
			continue
		}
		id, window := n.Identity(f.body, f.date)
		require.Positive(t, window)
		m := message{n.User, n.Folder, n.UIDValidity, n.UID}
		if earlier, ok := messages[id]; ok {
			require.Equal(t, earlier, m, f.name)
		}
		if earlier, ok := identities[m]; ok {
			require.Equal(t, earlier, id, f.name)
		}
		messages[id], identities[m] = m, id
	}
	require.Greater(t, len(messages), 130)
}

func TestIdentityTellsApart(t *testing.T) {
	base := Notification{User: "ab", Folder: "c", UIDValidity: 1, UID: 2, Event: MessageNew}
	seen := map[Identity]string{}
	add := func(what string, n Notification, body, date string) {
		id, _ := n.Identity([]byte(body), date)
		require.NotContains(t, seen, id, what)
		seen[id] = what
	}
	with := func(change func(*Notification)) Notification {
		n := base
		change(&n)
		return n
	}
	add("base", base, "body", someDate)
	add("user", with(func(n *Notification) { n.User = "a" }), "body", someDate)
	add("folder", with(func(n *Notification) { n.Folder = "C" }), "body", someDate)
	add("one letter moved", with(func(n *Notification) { n.User, n.Folder = "a", "bc" }), "body", someDate)
	add("UIDVALIDITY", with(func(n *Notification) { n.UIDValidity = 2 }), "body", someDate)
	add("UID", with(func(n *Notification) { n.UID = 3 }), "body", someDate)
	add("UID and UIDVALIDITY changed places", with(func(n *Notification) { n.UIDValidity, n.UID = 2, 1 }), "body", someDate)
	add("event", with(func(n *Notification) { n.Event = "messageRead" }), "body", someDate)

	unknown := with(func(n *Notification) { n.UID = 0 })
	add("UID unknown", unknown, "body", someDate)
	add("UID unknown, other body", unknown, "bodies", someDate)
	add("UID unknown, other date", unknown, "body", "Mon, 23 Nov 2026 16:16:19 GMT")
	add("UID unknown, no date", unknown, "body", "")
	add("UID unknown, no date, again", unknown, "body", "")
	_, window := unknown.Identity([]byte("body"), "")
	require.Zero(t, window, "never the same again")
}

func TestIdentityOfAKnownUIDNeedsNothingElse(t *testing.T) {
	n := decode(t, small)
	id1, _ := n.Identity([]byte(small), someDate)
	n.Unseen, n.Subject, n.From, n.Snippet = nil, "", "", ""
	id2, window := n.Identity(nil, "")
	require.Equal(t, id1, id2)
	require.Equal(t, KnownUIDWindow, window)
}

func TestIdentityString(t *testing.T) {
	require.Equal(t, "00ff0000000000000000000000000000", Identity{1: 0xff}.String())
	id, _ := decode(t, small).Identity(nil, "")
	require.Regexp(t, `^[0-9a-f]{32}$`, id.String())
}

// New messages of the same user, folder and UIDVALIDITY are of the same mailbox, whatever else is
// different, and nothing else is.
func TestMailbox(t *testing.T) {
	n := decode(t, small)
	require.Equal(t, Mailbox(0x8c2cb9acbd6ec281), n.Mailbox(), "stable, because others store it")
	other := *n
	other.UID, other.From = 99, "somebody"
	require.Equal(t, n.Mailbox(), other.Mailbox())
	for _, change := range []func(*Notification){
		func(n *Notification) { n.User += "x" },
		func(n *Notification) { n.Folder += "x" },
		func(n *Notification) { n.UIDValidity++ },
		func(n *Notification) { n.User, n.Folder = n.User+n.Folder[:1], n.Folder[1:] },
	} {
		other := *n
		change(&other)
		require.NotEqual(t, n.Mailbox(), other.Mailbox())
	}
}
