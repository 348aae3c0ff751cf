// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package imap

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

const (
	alice  = dovecottest.DefaultUser
	secret = dovecottest.DefaultPassword
	entry  = dovecottest.MetadataKey
)

func TestLogin(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, NoFailureDelay: true,
			Users: []dovecottest.User{{Name: alice, Password: secret}, {Name: "juergen@example.com", Password: `pä"ss\wörd 漢字`}},
		})
		s := newServer(t, Config{URL: "imap://" + dovecot.IMAPAddr()})
		require.NoError(t, s.Login(t.Context(), alice, secret))
		require.NoError(t, s.Login(t.Context(), "juergen@example.com", `pä"ss\wörd 漢字`))
		for name, login := range map[string]Login{
			"wrong password":     {User: alice, Password: "wrong"},
			"no such user":       {User: "nobody@example.com", Password: secret},
			"nothing":            {},
			"no password":        {User: alice},
			"separator":          {User: alice, Password: secret + "\x00"},
			"separator in name":  {User: "x\x00" + alice, Password: secret},
			"pretends a master":  {User: alice + "*" + alice, Password: secret},
			"line break in name": {User: alice + "\r\na LOGOUT", Password: secret},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				err := s.Login(t.Context(), login.User, login.Password)
				require.ErrorIs(t, err, ErrCredentials)
				assert.NotErrorIs(t, err, ErrUnavailable)
				assert.NotContains(t, err.Error(), "alice")
			})
		}
	})
}

func TestTLS(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		certFile, keyFile := certificate(t)
		otherFile, _ := certificate(t)
		imaps := freePort(t)
		extra := "ssl = yes\nssl_cert = <{{.SSLClientCertFile}}\nssl_key = <{{.SSLClientKeyFile}}\n"
		if version == dovecottest.V24 {
			extra = "ssl = yes\nssl_server_cert_file = {{.SSLClientCertFile}}\nssl_server_key_file = {{.SSLClientKeyFile}}\n"
		}
		extra += fmt.Sprintf("service imap-login {\n  inet_listener imaps {\n    port = %s\n    ssl = yes\n  }\n}\n", imaps)
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, NoFailureDelay: true, SSLClientCertFile: certFile, SSLClientKeyFile: keyFile, ExtraConfig: extra,
		})

		for _, url := range []string{"imaps://127.0.0.1:" + imaps, "imap://" + dovecot.IMAPAddr()} {
			scheme, _, _ := strings.Cut(url, ":")
			t.Run(scheme, func(t *testing.T) {
				withTLS := func(cfg Config) *Server {
					s := newServer(t, cfg)
					if s.security == plaintext {
						s.security = startTLS // as if the address were no loopback one
					}
					return s
				}
				s := withTLS(Config{URL: url, CAFile: certFile})
				require.NoError(t, s.Login(t.Context(), alice, secret))
				require.ErrorIs(t, s.Login(t.Context(), alice, "wrong"), ErrCredentials)
				for name, s := range map[string]*Server{
					"CAs of the system": withTLS(Config{URL: url}),
					"other CA":          withTLS(Config{URL: url, CAFile: otherFile}),
					"other name":        withTLS(Config{URL: strings.Replace(url, "127.0.0.1", "localhost", 1), CAFile: certFile}),
				} {
					err := s.Login(t.Context(), alice, secret)
					require.ErrorIs(t, err, ErrUnavailable, name)
					assert.ErrorContains(t, err, "x509", name)
				}
			})
		}
	})
}

// No password goes to a server that has no TLS.
func TestServerWithoutStartTLS(t *testing.T) {
	dovecot := dovecottest.Start(t, dovecottest.Config{})
	s := newServer(t, Config{URL: "imap://" + dovecot.IMAPAddr()})
	s.security = startTLS
	err := s.Login(t.Context(), alice, secret)
	require.ErrorIs(t, err, ErrUnavailable)
	assert.ErrorContains(t, err, "STARTTLS")
	assert.NotContains(t, dovecot.Log(), "user=<"+alice)
}

func TestMetadata(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, IMAPMetadata: true, NoFailureDelay: true, Master: dovecottest.User{Name: "boss", Password: "key"},
		})
		s := newServer(t, Config{URL: "imap://" + dovecot.IMAPAddr()})
		for name, login := range map[string]Login{
			"own login":                       {User: alice, Password: secret},
			"master, authorization identity":  {User: alice, Master: "boss", Password: "key"},
			"master, separated from the user": {User: alice + "*boss", Password: "key"},
		} {
			t.Run(name, func(t *testing.T) {
				value := "user=" + alice + "\tby=" + name
				require.NoError(t, s.Do(t.Context(), login, func(session *Session) error {
					before, err := session.Metadata(entry)
					require.NoError(t, err)
					assert.Empty(t, before)
					require.NoError(t, session.SetMetadata(entry, value))
					after, err := session.Metadata(strings.ToUpper(entry))
					require.NoError(t, err)
					assert.Equal(t, value, after)
					return nil
				}))
				out, err := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", alice, "", entry)
				require.NoError(t, err)
				assert.Equal(t, value+"\n", out)
				require.NoError(t, s.Do(t.Context(), login, func(session *Session) error {
					return session.UnsetMetadata(entry)
				}))
				require.NoError(t, s.Do(t.Context(), login, func(session *Session) error {
					value, err := session.Metadata(entry)
					assert.Empty(t, value)
					return err
				}))
			})
		}
		nothing := func(*Session) error { return nil }
		require.ErrorIs(t, s.Do(t.Context(), Login{User: alice, Master: "boss", Password: "wrong"}, nothing), ErrCredentials)
		require.ErrorIs(t, s.Do(t.Context(), Login{User: "nobody@example.com", Master: "boss", Password: "key"}, nothing), ErrNoSuchUser)
	})
}

func TestNoMetadata(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		for name, cfg := range map[string]dovecottest.Config{
			"imap_metadata is not set": {},
			"no dictionary":            {IMAPMetadata: true, NoAttributeDict: true},
		} {
			cfg.Version = version
			dovecot := dovecottest.Start(t, cfg)
			s := newServer(t, Config{URL: "imap://" + dovecot.IMAPAddr()})
			require.NoError(t, s.Do(t.Context(), Login{User: alice, Password: secret}, func(session *Session) error {
				_, err := session.Metadata(entry)
				require.ErrorIs(t, err, ErrNoMetadata, name)
				require.ErrorIs(t, session.SetMetadata(entry, "user=x"), ErrNoMetadata, name)
				require.ErrorIs(t, session.UnsetMetadata(entry), ErrNoMetadata, name)
				return nil
			}))
		}
	})
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := freeport.Get()
	require.NoError(t, err)
	return strconv.Itoa(port)
}
