// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	beOwner() // the other side of TestOwnerKilled
	goleak.VerifyTestMain(m)
}

func TestNotification(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		for _, format := range []MailFormat{SDBox, Maildir} {
			t.Run(string(format), func(t *testing.T) {
				t.Parallel()
				target := newEndpoint(t, nil)
				s := Start(t, Config{
					Version:    version,
					MailFormat: format,
					Drivers:    []Driver{{URL: target.url("dovecot:p%40ss%25word")}},
				})
				require.Equal(t, version, s.Version())

				_, err := s.Deliver("bob@example.net", []string{DefaultUser}, mail("before"))
				require.NoError(t, err)
				require.Empty(t, target.take(), "nobody is registered yet")

				require.NoError(t, s.Register(DefaultUser))
				took, err := s.Deliver("bob@example.net", []string{DefaultUser}, mail("Hello"))
				require.NoError(t, err)
				require.Positive(t, took)
				got := target.take()
				require.Len(t, got, 1)
				require.NotZero(t, got[0].UIDValidity)
				got[0].UIDValidity = 0
				require.Equal(t, received{
					Method: "PUT", Path: notifyPath, Login: "dovecot", Password: "p@ss%word",
					User: DefaultUser, Event: "messageNew", Folder: "INBOX", UID: 2,
					From: "Bob <bob@example.net>", Subject: "Hello", Snippet: "Hello there, .and so on.", Unseen: 2,
				}, got[0])

				require.NoError(t, s.Unregister(DefaultUser))
				_, err = s.Deliver("bob@example.net", []string{DefaultUser}, mail("after"))
				require.NoError(t, err)
				require.Empty(t, target.take(), "nobody is registered any more")
			})
		}
	})
}

func TestRecipients(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		target := newEndpoint(t, nil)
		s := Start(t, Config{
			Version: version,
			Users:   []User{{Name: "a@example.com", Password: "a"}, {Name: "b@example.com", Password: "b"}, {Name: "c@example.com", Password: "c"}},
			Drivers: []Driver{{URL: target.URL}},
		})
		require.NoError(t, s.Register("a@example.com"))
		require.NoError(t, s.Register("c@example.com"))
		session, err := s.OpenLMTP()
		require.NoError(t, err)

		for range 20 { // over one session
			_, err = session.Deliver("", []string{"a@example.com", "b@example.com", "c@example.com"}, mail("all"))
			require.NoError(t, err)
			require.Equal(t, []string{"a@example.com", "c@example.com"}, users(target.take()))
		}

		_, err = session.Deliver("", []string{"nobody@example.com", "a@example.com"}, mail("some"))
		var refused *textproto.Error
		require.ErrorAs(t, err, &refused)
		require.Equal(t, 550, refused.Code)
		require.ErrorContains(t, err, "recipient 1 of 2")
		require.Equal(t, []string{"a@example.com"}, users(target.take()))

		_, err = session.Deliver("", []string{"nobody@example.com"}, mail("none"))
		require.ErrorAs(t, err, &refused)
		require.Empty(t, target.take())

		_, err = session.Deliver("", []string{"c@example.com"}, mail("goes on"))
		require.NoError(t, err)
		require.Equal(t, []string{"c@example.com"}, users(target.take()))
		require.NoError(t, session.Close())
	})
}

func TestDrivers(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		login, metadata := newEndpoint(t, nil), newEndpoint(t, nil)
		s := Start(t, Config{Version: version, Drivers: []Driver{
			{URL: login.URL, MaxAttempts: 1},
			{URL: metadata.URL, UserFromMetadata: true},
		}})
		require.NoError(t, s.RegisterValue(DefaultUser, "user=3@1"))
		_, err := s.Deliver("", []string{DefaultUser}, mail("both"))
		require.NoError(t, err)
		require.Equal(t, []string{DefaultUser}, users(login.take()))
		require.Equal(t, []string{"3@1"}, users(metadata.take()))
	})
}

func TestTimeouts(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		for attempts := 1; attempts <= 2; attempts++ {
			var requests atomic.Int32
			hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				requests.Add(1)
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done() // until Dovecot has enough
			}))
			t.Cleanup(hanging.Close)
			s := Start(t, Config{
				Version:    version,
				Drivers:    []Driver{{URL: hanging.URL, Timeout: 200 * time.Millisecond, MaxAttempts: attempts}},
				NoDebugLog: true,
			})
			require.NoError(t, s.Register(DefaultUser))
			_, err := s.Deliver("", []string{DefaultUser}, mail("slowly"))
			require.NoError(t, err)
			require.Eventually(t, func() bool { return int(requests.Load()) >= attempts }, time.Minute, time.Millisecond) // what Dovecot gave up on
			require.EqualValues(t, attempts, requests.Load())
			require.Eventually(t, func() bool {
				return strings.Contains(s.Log(), "Error when sending notification: Request timed out")
			}, time.Minute, 10*time.Millisecond)
			require.NotContains(t, s.Log(), "Debug:")
		}
	})
}

func TestHTTPS(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		ca := newAuthority(t)
		target := newEndpoint(t, ca.server(true))
		ca.client()

		t.Run("trusted", func(t *testing.T) {
			drivers := []Driver{{URL: target.URL}}
			if version == V23 {
				// 2.4.0 to 2.4.3 use memory after freeing it when they resolve names.
				drivers = append(drivers, Driver{URL: strings.Replace(target.URL, "127.0.0.1", "localhost", 1)})
			}
			s := Start(t, Config{
				Version:           version,
				Drivers:           drivers,
				SSLClientCAFile:   ca.file("ca.crt"),
				SSLClientCertFile: ca.file("client.crt"),
				SSLClientKeyFile:  ca.file("client.key"),
			})
			require.NoError(t, s.Register(DefaultUser))
			_, err := s.Deliver("", []string{DefaultUser}, mail("secret"))
			require.NoError(t, err)
			require.Len(t, target.take(), len(drivers))
		})
		t.Run("untrusted", func(t *testing.T) {
			s := Start(t, Config{
				Version:         version,
				Drivers:         []Driver{{URL: target.URL}},
				SSLClientCAFile: newAuthority(t).file("ca.crt"),
			})
			require.NoError(t, s.Register(DefaultUser))
			_, err := s.Deliver("", []string{DefaultUser}, mail("secret"))
			require.NoError(t, err, "mail is delivered without a notification")
			require.Empty(t, target.take())
			require.Eventually(t, func() bool {
				return strings.Contains(s.Log(), "Received invalid SSL certificate: unable to get local issuer certificate")
			}, time.Minute, 10*time.Millisecond)
		})
		t.Run("without client certificate", func(t *testing.T) {
			s := Start(t, Config{
				Version:         version,
				Drivers:         []Driver{{URL: target.URL, MaxAttempts: 1}},
				SSLClientCAFile: ca.file("ca.crt"),
			})
			require.NoError(t, s.Register(DefaultUser))
			_, err := s.Deliver("", []string{DefaultUser}, mail("secret"))
			require.NoError(t, err)
			require.Empty(t, target.take())
		})
	})
}

func TestLDA(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		target := newEndpoint(t, nil)
		s := Start(t, Config{Version: version, Drivers: []Driver{{URL: target.URL}}})
		require.NoError(t, s.Register(DefaultUser))
		require.NoError(t, s.DeliverLDA("bob@example.net", DefaultUser, mail("by LDA")))
		got := target.take()
		require.Len(t, got, 1)
		require.Equal(t, "by LDA", got[0].Subject)
		require.Equal(t, uint32(1), got[0].UID)
		require.Error(t, s.DeliverLDA("", "nobody@example.com", mail("nowhere")))
	})
}

func TestIMAPMetadata(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		target := newEndpoint(t, nil)
		s := Start(t, Config{Version: version, Drivers: []Driver{{URL: target.URL}}, IMAPMetadata: true})
		require.NoError(t, setMetadata(t, s, "127.0.0.1"))
		_, err := s.Deliver("", []string{DefaultUser}, mail("Hello"))
		require.NoError(t, err)
		require.Len(t, target.take(), 1)

		s = Start(t, Config{Version: version})
		require.ErrorContains(t, setMetadata(t, s, "127.0.0.1"), "NO")
	})
}

func TestDoveadm(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		s := Start(t, Config{Version: version, MailFormat: Maildir})
		require.NoError(t, s.Register(DefaultUser))
		out, err := s.Doveadm("mailbox", "metadata", "get", "-s", "-u", DefaultUser, "", MetadataKey)
		require.NoError(t, err)
		require.Equal(t, "user="+DefaultUser+"\n", out)
		_, err = s.Doveadm("user", "nobody@example.com")
		require.Error(t, err)
		require.ErrorContains(t, s.Register("nobody@example.com"), "67")
	})
}
