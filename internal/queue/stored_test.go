// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// What is around a group is stored as well, and read by later versions: subjects
// and headers.
func TestStoredMessages(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	s.config.Journals = []string{"catch_up"}
	q := s.open(t, "a")
	due, at := time.UnixMilli(1795967778123), time.UnixMilli(1795967770000)
	parked := Parked{Records: []Record{numbered(1), numbered(2)}, Due: due, Reason: "connect", WaitsFor: "service push.test", At: at}
	require.NoError(t, q.Park(t.Context(), "a", parked))
	require.NoError(t, q.DeadLetter(t.Context(), "a", new(numbered(3)), "status_400"))
	_, err := q.Journal("catch_up").Append(t.Context(), 0, 4711, []byte("entry"))
	require.NoError(t, err)
	_, err = q.Table("subscriptions").Put(t.Context(), Key{"jürgen@example.com", "a.b"}, []byte("value"))
	require.NoError(t, err)
	accept(t, q, numbered(0))
	for _, want := range []struct {
		stream, subject string
		header          nats.Header
	}{
		{"dovecot_push", "dovecot_push.in.1", nil},
		{"dovecot_push_parked", "dovecot_push.parked.a.2", nats.Header{
			"Dovecot-Push-Due": {"1795967778123"}, "Dovecot-Push-Reason": {"connect"},
			"Dovecot-Push-Waits-For": {"service push.test"}, "Dovecot-Push-Parked": {"1795967770000"},
		}},
		{"dovecot_push_dead", "dovecot_push.dead.a", nats.Header{"Dovecot-Push-Reason": {"status_400"}}},
		{"dovecot_push_catch_up", "dovecot_push.catch_up", nats.Header{"Dovecot-Push-Covers": {"4711"}}},
		{"KV_dovecot_push_subscriptions", "$KV.dovecot_push_subscriptions.asO8cmdlbkBleGFtcGxlLmNvbQ.YS5i", nil},
	} {
		stream, err := q.js().Stream(t.Context(), want.stream)
		require.NoError(t, err, want.stream)
		msg, err := stream.GetLastMsgForSubject(t.Context(), ">")
		require.NoError(t, err, want.stream)
		require.Equal(t, want.subject, msg.Subject)
		for name, value := range want.header {
			require.Equal(t, value, msg.Header[name], "%s: %s", want.stream, name)
		}
		for name := range msg.Header {
			require.True(t, want.header[name] != nil || strings.HasPrefix(name, "Nats-"), "%s: %s", want.stream, name)
		}
	}
}
