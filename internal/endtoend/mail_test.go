// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

func message(subject string) []byte {
	return fmt.Appendf(nil, "From: Alice Example <alice@example.net>\r\nTo: somebody@example.com\r\nSubject: %s\r\n\r\nHello.\r\n", subject)
}

// users makes n users.
func users(n int) []dovecottest.User {
	all := make([]dovecottest.User, n)
	for i := range all {
		all[i] = dovecottest.User{Name: fmt.Sprintf("user%d@example.com", i), Password: "pass"}
	}
	return all
}

// startDovecot starts a Dovecot that reports to the given URLs and has every
// user registered.
func startDovecot(t *testing.T, version dovecottest.Version, f *front, cfg dovecottest.Config, urls ...string) *dovecottest.Server {
	t.Helper()
	cfg.Version = version
	cfg.SSLClientCAFile = f.RootCA()
	for _, u := range urls {
		cfg.Drivers = append(cfg.Drivers, dovecottest.Driver{URL: u, Timeout: 10 * time.Second, MaxAttempts: 2})
	}
	server := dovecottest.Start(t, cfg)
	for _, u := range server.Users() {
		require.NoError(t, server.Register(u.Name))
	}
	return server
}

func deliver(t *testing.T, dovecot *dovecottest.Server, subject string, to ...string) {
	t.Helper()
	_, err := dovecot.Deliver("alice@example.net", to, message(subject))
	require.NoError(t, err)
}

func TestOneMail(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		for _, scheme := range []string{"https", "http"} {
			t.Run(scheme, func(t *testing.T) {
				ox := startMiddleware(t)
				f := startFront(t, ox.addr)
				dovecot := startDovecot(t, version, f, dovecottest.Config{Users: users(1)}, f.url(scheme))
				deliver(t, dovecot, "Hello world", "user0@example.com")
				got := ox.wait(1)[0]
				assert.Equal(t, "user0@example.com", got.User)
				assert.Equal(t, "messageNew", got.Event)
				assert.Equal(t, "INBOX", got.Folder)
				assert.EqualValues(t, 1, got.UID)
				assert.NotZero(t, got.UIDValidity)
				assert.Equal(t, "Alice Example <alice@example.net>", got.From)
				assert.Equal(t, "Hello world", got.Subject)
				require.NotNil(t, got.Unseen)
				assert.EqualValues(t, 1, *got.Unseen)
				assert.NotContains(t, dovecot.Log(), "Error when sending notification")
			})
		}
	})
}

func TestSeveralRecipients(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		ox := startMiddleware(t)
		f := startFront(t, ox.addr)
		dovecot := startDovecot(t, version, f, dovecottest.Config{Users: users(5)}, f.url("https"))
		to := []string{"user0@example.com", "user1@example.com", "user2@example.com", "user3@example.com"}
		deliver(t, dovecot, "for four", to...)
		var got []string
		for _, n := range ox.wait(4) {
			got = append(got, n.User)
		}
		assert.ElementsMatch(t, to, got)
	})
}

func TestBurst(t *testing.T) {
	t.Parallel()
	const mails = 200
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		ox := startMiddleware(t)
		f := startFront(t, ox.addr)
		dovecot := startDovecot(t, version, f, dovecottest.Config{Users: users(1)}, f.url("https"))
		session, err := dovecot.OpenLMTP()
		require.NoError(t, err)
		defer session.Close()
		for i := range mails {
			_, err := session.Deliver("alice@example.net", []string{"user0@example.com"}, message(fmt.Sprintf("mail %d", i)))
			require.NoError(t, err)
		}
		var uids []uint32
		for _, n := range ox.wait(mails) {
			uids = append(uids, n.UID)
		}
		slices.Sort(uids)
		assert.Len(t, slices.Compact(uids), mails, "each mail has a notification of its own")
	})
}

// Two drivers report every mail twice; it comes out once.
func TestTwoDriversToTwoEndpoints(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		ox := startMiddleware(t)
		f := startFront(t, ox.addr)
		dovecot := startDovecot(t, version, f, dovecottest.Config{Users: users(1)}, f.url("https"), f.url("http"))
		for i := range 3 {
			deliver(t, dovecot, fmt.Sprintf("mail %d", i), "user0@example.com")
		}
		ox.wait(3)
		metrics, err := f.Metrics()
		require.NoError(t, err)
		assert.Contains(t, metrics, `caddy_dovecot_push_notify_requests_total{result="accepted"} 3`)
		assert.Contains(t, metrics, `caddy_dovecot_push_notify_requests_total{result="duplicate"} 3`)
	})
}

func TestUserFromMetadata(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		ox := startMiddleware(t)
		f := startFront(t, ox.addr)
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: users(1), SSLClientCAFile: f.RootCA(),
			Drivers: []dovecottest.Driver{{URL: f.url("https"), UserFromMetadata: true, Timeout: 10 * time.Second, MaxAttempts: 2}},
		})
		require.NoError(t, dovecot.RegisterValue("user0@example.com", "user=17@4"))
		deliver(t, dovecot, "for OX", "user0@example.com")
		assert.Equal(t, "17@4", ox.wait(1)[0].User)
	})
}

func TestNobodyIsReportedWithoutRegistration(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	f := startFront(t, ox.addr)
	dovecot := startDovecot(t, dovecottest.V23, f, dovecottest.Config{Users: users(2)}, f.url("https"))
	require.NoError(t, dovecot.Unregister("user1@example.com"))
	deliver(t, dovecot, "for two", "user1@example.com", "user0@example.com")
	assert.Equal(t, "user0@example.com", ox.wait(1)[0].User)
}

func TestMiddlewareDown(t *testing.T) {
	t.Parallel()
	const mails = 20
	ox := startMiddleware(t)
	ox.down()
	f := startFront(t, ox.addr)
	dovecot := startDovecot(t, dovecottest.V23, f, dovecottest.Config{Users: users(1)}, f.url("https"))
	for i := range mails {
		deliver(t, dovecot, fmt.Sprintf("mail %d", i), "user0@example.com")
	}
	assert.NotContains(t, dovecot.Log(), "Error when sending notification", "Dovecot must not notice")
	assert.Empty(t, ox.got())

	// Also over a restart of Caddy.
	f.Stop()
	f.start(t)
	ox.up()
	var subjects []string
	for _, n := range ox.wait(mails) {
		subjects = append(subjects, n.Subject)
	}
	slices.Sort(subjects)
	assert.Len(t, slices.Compact(subjects), mails)
}

// An application server that is starting, or whose password was changed, must
// not cost a notification.
func TestMiddlewareRefuses(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusInternalServerError, http.StatusServiceUnavailable, http.StatusUnauthorized, http.StatusNotFound} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			ox := startMiddleware(t)
			ox.status = status
			f := startFront(t, ox.addr)
			dovecot := startDovecot(t, dovecottest.V23, f, dovecottest.Config{Users: users(1)}, f.url("https"))
			for i := range 5 {
				deliver(t, dovecot, fmt.Sprintf("mail %d", i), "user0@example.com")
			}
			time.Sleep(500 * time.Millisecond)
			assert.Empty(t, ox.got())
			ox.mu.Lock()
			ox.status = http.StatusOK
			ox.mu.Unlock()
			ox.wait(5)
		})
	}
}

// Mail delivery never waits for the middleware: all of it is done before the
// middleware has answered once.
func TestMiddlewareHangs(t *testing.T) {
	t.Parallel()
	const mails = 50
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		ox := startMiddleware(t)
		ox.hangFromNow()
		f := startFront(t, ox.addr)
		dovecot := startDovecot(t, version, f, dovecottest.Config{Users: users(1)}, f.url("https"))
		for i := range mails {
			deliver(t, dovecot, fmt.Sprintf("mail %d", i), "user0@example.com")
		}
		assert.Empty(t, ox.got())
		assert.NotContains(t, dovecot.Log(), "Request timed out")
		ox.release()
		ox.wait(mails)
	})
}

// Dovecot sends From as it is in the mail, whatever its size.
func TestEnormousFrom(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	f := startFront(t, ox.addr)
	from := strings.Repeat("é", 5_300_000/2)
	body := `{"user":"alice@example.com","event":"messageNew","folder":"INBOX","imap-uidvalidity":1795452971,"imap-uid":1,"from":"` + from + `"}`
	taken(t, f.http, body)
	got := ox.wait(1)[0]
	assert.True(t, got.From == from, "%d bytes came", len(got.From))
}
