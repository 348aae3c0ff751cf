// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package action

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// Real Dovecots do what is asked for, by DoveAdm and over IMAP, and nothing else. How
// long it takes is logged.
func TestMailboxes(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		dovecot := dovecottest.Start(t, dovecottest.Config{Version: version, NoFailureDelay: true, Master: dovecottest.User{Name: "boss", Password: "key"}})
		client, err := doveadm.New(doveadm.Config{Endpoints: []string{dovecot.DoveAdmURL()}, APISecret: dovecot.APIKey()})
		require.NoError(t, err)
		defer client.Close()
		server, err := imap.New(imap.Config{URL: "imap://" + dovecot.IMAPAddr()})
		require.NoError(t, err)
		_, err = dovecot.Doveadm("mailbox", "create", "-u", alice, "Büro/Archiv")
		require.NoError(t, err)
		for name, mailboxes := range map[string]Mailboxes{
			"doveadm": NewDoveAdm(client),
			"imap":    NewIMAP(registration.NewIMAP(server, registration.MasterUser{Name: "boss", Password: "key"})),
		} {
			t.Run(name, func(t *testing.T) {
				testMailboxes(t, dovecot, client, mailboxes)
			})
		}
	})
}

func testMailboxes(t *testing.T, dovecot *dovecottest.Server, client *doveadm.Client, mailboxes Mailboxes) {
	const archive = "Büro/Archiv"
	for range 2 {
		_, err := dovecot.Deliver("carol@example.net", []string{alice}, []byte("Subject: one\n\nHello\n"))
		require.NoError(t, err)
	}
	mails := func(mailbox string) []map[string]string {
		t.Helper()
		rows, err := client.Fetch(t.Context(), alice, []string{"mailbox", mailbox}, "uid", "guid", "flags")
		require.NoError(t, err)
		for _, row := range rows {
			row["flags"] = strings.TrimSpace(strings.ReplaceAll(row["flags"], `\Recent`, ""))
		}
		return rows
	}
	status, err := client.MailboxStatus(t.Context(), alice, "INBOX")
	require.NoError(t, err)
	uidValidity, err := number(status["uidvalidity"])
	require.NoError(t, err)
	before := mails("INBOX")
	mine, other := before[len(before)-2], before[len(before)-1]
	uid, err := number(mine["uid"])
	require.NoError(t, err)
	at := Place{"INBOX", uidValidity, uid}
	timed := func(what string, do func(ctx context.Context)) {
		start := time.Now()
		do(t.Context())
		t.Logf("%s: %v", what, time.Since(start))
	}

	for _, seen := range []bool{true, true, false, false} {
		timed("flag", func(ctx context.Context) {
			was := mails("INBOX")[len(before)-2]["flags"] == `\Seen`
			changed, err := mailboxes.SetSeen(ctx, alice, at, seen)
			require.NoError(t, err)
			assert.Equal(t, was != seen, changed)
		})
		now := mails("INBOX")
		assert.Equal(t, seen, now[len(now)-2]["flags"] == `\Seen`)
		assert.Equal(t, other, now[len(now)-1], "the other mail")
	}

	var there Place
	timed("move", func(ctx context.Context) { there, err = mailboxes.Move(ctx, alice, at, archive) })
	require.NoError(t, err)
	assert.Equal(t, archive, there.Folder)
	assert.Len(t, mails("INBOX"), len(before)-1)
	archived := mails(archive)
	require.Len(t, archived, 1)
	assert.Equal(t, mine["guid"], archived[0]["guid"])
	_, err = mailboxes.Move(t.Context(), alice, at, archive)
	require.ErrorIs(t, err, ErrNoMail, "it is not there any more")
	_, err = mailboxes.SetSeen(t.Context(), alice, at, true)
	require.ErrorIs(t, err, ErrNoMail)

	var back Place
	timed("move", func(ctx context.Context) { back, err = mailboxes.Move(ctx, alice, there, "INBOX") })
	require.NoError(t, err)
	assert.Empty(t, mails(archive))
	after := mails("INBOX")
	require.Len(t, after, len(before))
	assert.Equal(t, mine["guid"], after[len(after)-1]["guid"])
	restored, err := number(after[len(after)-1]["uid"])
	require.NoError(t, err)
	assert.Equal(t, Place{"INBOX", uidValidity, restored}, back)

	for name, wrong := range map[string]Place{
		"another UIDVALIDITY": {"INBOX", uidValidity + 1, restored},
		"another mailbox":     {"Nowhere", uidValidity, restored},
		"no such UID":         {"INBOX", uidValidity, restored + 100},
	} {
		_, err = mailboxes.SetSeen(t.Context(), alice, wrong, true)
		require.ErrorIs(t, err, ErrNoMail, name)
		_, err = mailboxes.Move(t.Context(), alice, wrong, archive)
		require.ErrorIs(t, err, ErrNoMail, name)
	}
	_, err = mailboxes.Move(t.Context(), alice, back, "Nowhere")
	require.ErrorIs(t, err, ErrNoMailbox)
	_, err = mailboxes.Move(t.Context(), "nobody@example.com", back, archive)
	require.ErrorIs(t, err, ErrDovecot)
	assert.Equal(t, after, mails("INBOX"), "nothing was changed")
}
