// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseEvents(t *testing.T) {
	events, err := ParseEvents([]string{"messagenew", "MessageRead", "mailboxCreate"})
	require.NoError(t, err)
	require.Equal(t, Events{MessageNew, MessageRead, MailboxCreate}, events)
	events, err = ParseEvents([]string{"messageNew", "ALL"})
	require.NoError(t, err)
	require.Equal(t, AllEvents, events)
	_, err = ParseEvents([]string{"messageLost"})
	require.ErrorContains(t, err, `no event "messageLost"; there are: all, messageNew, `)
}

// Only the events in use are decoded, each with what it needs.
func TestDecodeEvents(t *testing.T) {
	for _, event := range AllEvents {
		body := strings.Replace(small, "messageNew", string(event), 1)
		_, err := new(Decoder).Decode([]byte(body))
		if event != MessageNew {
			require.ErrorIs(t, err, ErrUnusedEvent)
		}
		n, err := (&Decoder{Events: AllEvents}).Decode([]byte(body))
		require.NoError(t, err)
		assert.Equal(t, event, n.Event)
		assert.EqualValues(t, 4, n.UID)

		_, err = (&Decoder{Events: AllEvents}).Decode([]byte(strings.Replace(body, `"imap-uid":4,`, "", 1)))
		if event.OfMailbox() {
			require.NoError(t, err, event)
		} else {
			require.ErrorContains(t, err, "imap-uid is missing", event)
		}
	}
}

func TestDecodeFlagsAndOldFolder(t *testing.T) {
	d := &Decoder{Events: AllEvents}
	decode := func(event, members string) *Notification {
		n, err := d.Decode([]byte(`{"user":"u","event":"` + event + `","folder":"F2",` + members + `}`))
		require.NoError(t, err)
		return n
	}
	assert.Equal(t, []string{`\Flagged`, "kw1"}, decode("flagsSet", `"imap-uid":1,"flags":["\\Flagged","kw1"]`).Flags)
	assert.Equal(t, []string{"ok"}, decode("flagsClear", `"imap-uid":1,"flags":["a\nb","`+strings.Repeat("x", 129)+`","ok"]`).Flags)
	assert.Empty(t, decode("flagsSet", `"imap-uid":1,"flags":{"a":1}`).Flags)
	assert.Len(t, decode("flagsSet", `"imap-uid":1,"flags":["f"`+strings.Repeat(`,"f"`, 100)+`]`).Flags, MaxFlags)
	assert.Empty(t, decode("messageRead", `"imap-uid":1,"flags":["f"]`).Flags)
	assert.Equal(t, "F1", decode("mailboxRename", `"old-folder":"F1"`).OldFolder)
}

// A message can meet the same event again: only a repeated request is a
// repetition. A new message stays the same whatever the request looks like.
func TestIdentityOfEvents(t *testing.T) {
	n := Notification{User: "u", Folder: "INBOX", UID: 7, Event: FlagsSet}
	first, window := n.Identity([]byte("a"), "date 1")
	assert.Equal(t, UnknownUIDWindow, window)
	again, _ := n.Identity([]byte("a"), "date 1")
	assert.Equal(t, first, again)
	later, _ := n.Identity([]byte("a"), "date 2")
	assert.NotEqual(t, first, later)

	n.Event = MessageNew
	first, _ = n.Identity([]byte("a"), "date 1")
	later, _ = n.Identity([]byte("b"), "date 2")
	assert.Equal(t, first, later)
}

// The newest of several new messages may stand for all, a read one for itself
// only.
func TestMailboxOfEvents(t *testing.T) {
	of := func(event Event, uid uint32) Mailbox {
		return (&Notification{User: "u", Folder: "INBOX", Event: event, UID: uid}).Mailbox()
	}
	assert.Equal(t, of(MessageNew, 1), of(MessageNew, 2))
	assert.NotEqual(t, of(MessageNew, 1), of(MessageRead, 1))
	assert.NotEqual(t, of(MessageRead, 1), of(MessageRead, 2))
	assert.Equal(t, of(MessageRead, 1), of(FlagsSet, 1))
}

// A body full of flags takes no longer to read than any other of its size.
func TestManyFlags(t *testing.T) {
	array := `["f"` + strings.Repeat(`,"f"`, 1<<18-1) + `]`
	if n := testing.AllocsPerRun(1, func() { require.Empty(t, flags([]byte(array))) }); n > 10 {
		t.Errorf("%v allocations", n)
	}
}
