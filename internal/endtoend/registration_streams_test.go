// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Dovecot notifies for a user from the first event stream on, over a restart,
// until the grace time after the last one is over.
func TestRegistrationFollowsStreams(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		const alice, bob = "user0@example.com", "user1@example.com"
		f := &withAPI{newFront(t, startMiddleware(t).addr), freeAddress(t)}
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: users(2), ExtraConfig: patient(version),
			Drivers: []dovecottest.Driver{{URL: f.url("http"), Timeout: 10 * time.Second, MaxAttempts: 2}},
		})
		f.Setenv("API_SECRET=" + dovecot.APIKey())
		f.config = strings.Replace(f.config, "dovecot_push {\n", "dovecot_push {\n"+
			"doveadm "+dovecot.DoveAdmURL()+" {\napi_secret {env.API_SECRET}\n}\n"+
			"register on_subscribe {\ngrace 1ms\n}\ndeliver webpush {\ncontact postmaster@example.com\n}\n", 1)
		f.config += "https://" + f.address + " {\ntls internal\ndovecot_push_api /push/* {\nlogin imap imap://" + dovecot.IMAPAddr() + "\n}\n}\n"
		run := func() {
			f.start(t)
			awaitCertificate(t, f.address)
		}
		becomes := func(user, value string) {
			t.Helper()
			require.Eventually(t, func() bool { return valueIn(t, dovecot, user) == value }, waitTimeout, 50*time.Millisecond, "%s: %q", user, value)
		}
		run()
		one, other := f.person(t), f.person(t)
		require.Equal(t, http.StatusOK, one.signIn(alice, "pass"))
		require.Equal(t, http.StatusOK, other.signIn(bob, "pass"))
		stream := one.listen()
		becomes(alice, "user="+alice+ourMark)
		assert.Empty(t, valueIn(t, dovecot, bob), "who signed in, and has no stream")
		deliver(t, dovecot, "nobody wants to know", bob)
		deliver(t, dovecot, "first", alice)
		assert.Equal(t, "first", stream.wait(1)[0].Subject)

		// A restart does not end it, and nor does what is found then: streams are
		// in no list of devices.
		f.Stop()
		run()
		becoming := other.listen()
		becomes(bob, "user="+bob+ourMark)
		deliver(t, dovecot, "second", alice, bob)
		assert.Equal(t, "second", stream.wait(2)[1].Subject)
		assert.Equal(t, "second", becoming.wait(1)[0].Subject, "and nothing from before")

		// The last stream ends; an hour and a half later, so does the registration.
		stream.stop()
		f.Stop()
		q, err := queue.Open(t.Context(), queue.Config{
			Embedded: &queue.Embedded{Path: f.QueueDir()}, MaxBytes: 1 << 30, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		_, err = q.Table("streams").Put(t.Context(), queue.Key{alice}, fmt.Append(nil, time.Now().Add(-time.Second).UnixMilli()))
		require.NoError(t, err)
		q.Close()
		run()
		becomes(alice, "")
		assert.Equal(t, "user="+bob+ourMark, valueIn(t, dovecot, bob))
		deliver(t, dovecot, "third", alice, bob)
		assert.Equal(t, "third", becoming.wait(2)[1].Subject)
		metrics, err := f.Metrics()
		require.NoError(t, err)
		assert.Contains(t, metrics, `caddy_dovecot_push_notify_requests_total{result="accepted"} 1`+"\n", "of the two mails")
		require.Eventually(t, func() bool { // it is counted after it is written
			metrics, err := f.Metrics()
			return err == nil && strings.Contains(metrics, `caddy_dovecot_push_registration_changes_total{change="unregistered"} 1`+"\n")
		}, waitTimeout, 50*time.Millisecond)
	})
}
