// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// The mailboxes of several users, and messages of one of them, of real Dovecots.
func TestMailboxesAndMessages(t *testing.T) {
	const alice, bob = "alice@example.com", "bob@example.com"
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		dovecot := dovecottest.Start(t, dovecottest.Config{Version: version, Users: []dovecottest.User{{Name: alice, Password: "x"}, {Name: bob, Password: "x"}}})
		client, err := doveadm.New(doveadm.Config{Endpoints: []string{dovecot.DoveAdmURL()}, APISecret: dovecot.APIKey()})
		require.NoError(t, err)
		defer client.Close()
		for _, mail := range []string{"Subject: one\n two\nFrom: =?utf-8?Q?J?=\n\nHello\n", "X: y\n\nWorld\n"} {
			_, err := dovecot.Deliver("carol@example.net", []string{alice}, []byte(mail))
			require.NoError(t, err)
		}
		boxes, err := client.MailboxStatusMask(t.Context(), "*@example.com", "INBOX", "uidnext", "unseen")
		require.NoError(t, err)
		assert.Equal(t, map[string]map[string]string{alice: {"uidnext": "3", "unseen": "2"}, bob: {"uidnext": "1", "unseen": "0"}}, boxes)
		boxes, err = client.MailboxStatusMask(t.Context(), alice, "INBOX", "uidnext")
		require.NoError(t, err)
		assert.Equal(t, map[string]map[string]string{alice: {"uidnext": "3"}}, boxes)

		mails, err := client.Fetch(t.Context(), alice, []string{"mailbox", "INBOX", "uid", "1:9"}, "uid", "hdr.subject", "hdr.from", "body.snippet")
		require.NoError(t, err)
		assert.Equal(t, []map[string]string{
			{"uid": "1", "hdr.subject": "one\n two", "hdr.from": "=?utf-8?Q?J?=", "body.snippet": "Hello"},
			{"uid": "2", "hdr.subject": "", "hdr.from": "", "body.snippet": "World"},
		}, mails)
		mails, err = client.Fetch(t.Context(), alice, []string{"mailbox", "INBOX", "uid", "7"}, "uid")
		require.NoError(t, err)
		assert.Empty(t, mails)
		_, err = client.Fetch(t.Context(), "nobody@example.com", []string{"mailbox", "INBOX"}, "uid")
		require.ErrorIs(t, err, doveadm.ErrUnknownUser)
		_, err = client.Fetch(t.Context(), "*", []string{"mailbox", "INBOX"}, "uid")
		require.ErrorIs(t, err, doveadm.ErrUsage)
	})
}
