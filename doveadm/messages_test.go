// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// eachMailStore runs a test on real Dovecots and on the one of package doveadmtest:
// alice has a mailbox Archive, and gets a mail with each call of deliver.
func eachMailStore(t *testing.T, test func(t *testing.T, c *doveadm.Client, deliver func())) {
	t.Helper()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		dovecot := startDovecot(t, version, settings{})
		_, err := dovecot.Doveadm("mailbox", "create", "-u", alice, "Archive")
		require.NoError(t, err)
		test(t, newClient(t, doveadm.Config{Endpoints: []string{dovecot.DoveAdmURL()}, APISecret: dovecot.APIKey()}), func() {
			_, err := dovecot.Deliver("carol@example.net", []string{alice}, []byte("Subject: x\n\nHello\n"))
			require.NoError(t, err)
		})
	})
	t.Run("doveadmtest", func(t *testing.T) {
		server := doveadmtest.Start(t, doveadmtest.Config{Users: []string{alice}})
		server.AddMailbox(alice, "Archive")
		test(t, server.Client(t), func() { server.Deliver(alice, "INBOX") })
	})
}

// Messages are found by mailbox, UID and GUID, marked and moved.
func TestFlagsAndMoves(t *testing.T) {
	eachMailStore(t, func(t *testing.T, c *doveadm.Client, deliver func()) {
		ctx := t.Context()
		for range 3 {
			deliver()
		}
		in := func(mailbox string, more ...string) []map[string]string {
			t.Helper()
			mails, err := c.Fetch(ctx, alice, append([]string{"mailbox", mailbox}, more...), "uid", "flags")
			require.NoError(t, err)
			return mails
		}
		flags := func(uid string) string {
			t.Helper()
			mails := in("INBOX", "uid", uid)
			require.Len(t, mails, 1)
			return mails[0]["flags"]
		}
		second, seen := []string{"mailbox", "INBOX", "uid", "2"}, []string{`\Seen`}
		require.NoError(t, c.FlagsAdd(ctx, alice, seen, second))
		assert.Contains(t, flags("2"), `\Seen`)
		assert.NotContains(t, flags("1"), `\Seen`)
		status, err := c.MailboxStatus(ctx, alice, "INBOX", "messages", "unseen", "uidnext")
		require.NoError(t, err)
		assert.Equal(t, map[string]string{"messages": "3", "unseen": "2", "uidnext": "4"}, status)
		for range 2 {
			require.NoError(t, c.FlagsRemove(ctx, alice, seen, second))
		}
		assert.NotContains(t, flags("2"), `\Seen`)

		mails, err := c.Fetch(ctx, alice, second, "guid")
		require.NoError(t, err)
		require.Len(t, mails, 1)
		guid := mails[0]["guid"]
		require.NotEmpty(t, guid)
		require.NoError(t, c.Move(ctx, alice, "Archive", append(second, "guid", "another")), "there is none")
		assert.Len(t, in("INBOX"), 3)
		require.NoError(t, c.Move(ctx, alice, "Archive", append(second, "guid", guid)))
		assert.Len(t, in("INBOX"), 2)
		assert.Empty(t, in("INBOX", "uid", "2"))
		assert.Len(t, in("Archive", "guid", guid), 1, "it keeps its GUID")
		assert.Len(t, in("Archive", "uid", "1:*", "guid", guid), 1)
		assert.Empty(t, in("Archive", "guid", "another"))

		missing := []string{"mailbox", "Nowhere", "uid", "1"}
		for _, err := range []error{
			c.Move(ctx, alice, "Nowhere", []string{"mailbox", "INBOX", "uid", "1"}), c.Move(ctx, alice, "Archive", missing), c.FlagsAdd(ctx, alice, seen, missing),
		} {
			if err != nil { // Dovecot 2.4 does not say so
				require.ErrorIs(t, err, doveadm.ErrNotFound)
			}
		}
		assert.Len(t, in("INBOX"), 2)
		require.ErrorIs(t, c.FlagsAdd(ctx, "nobody@example.com", seen, second), doveadm.ErrUnknownUser)
		require.ErrorIs(t, c.Move(ctx, "nobody@example.com", "Archive", second), doveadm.ErrUnknownUser)
		require.ErrorIs(t, c.Move(ctx, "*", "Archive", second), doveadm.ErrUsage)
		require.ErrorIs(t, c.FlagsAdd(ctx, alice, seen, nil), doveadm.ErrUsage)
		require.ErrorIs(t, c.FlagsAdd(ctx, alice, nil, second), doveadm.ErrUsage)
		require.ErrorIs(t, c.Move(ctx, alice, "", second), doveadm.ErrUsage)
	})
}
