// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// People get their mail under every login that Dovecot takes: with capitals where
// it minds them and where it does not, with a domain that it cuts off, by a master
// user. Dovecot is asked who they are by DoveAdm, or by IMAP alone.
func TestLoginsOfOneUser(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		asTyped, lower, localPart := "%u", "%Lu", "%Ln"
		if version == dovecottest.V24 {
			asTyped, lower, localPart = "%{user}", "%{user|lower}", "%{user|username|lower}"
		}
		for _, test := range []struct{ name, format, account, login, user string }{
			{"capitals", asTyped, "ServerAdmin@example.com", "ServerAdmin@example.com", "ServerAdmin@example.com"},
			{"lower case", lower, "alice@example.com", "Alice@Example.com", "alice@example.com"},
			{"domain", localPart, "dave", "Dave@x0", "dave"},
			{"master user", localPart, "dave", "dave*boss", "dave"},
		} {
			for _, way := range []string{"doveadm", "imap"} {
				if way == "imap" && test.name == "domain" {
					continue // IMAP cannot be asked for that
				}
				t.Run(test.name+"/"+way, func(t *testing.T) {
					password := "secret"
					if strings.Contains(test.login, "*") {
						password = master.Password
					}
					f := startAPI(t, startMiddleware(t).addr)
					dovecot := startDovecot(t, version, f.front, dovecottest.Config{
						Users: []dovecottest.User{{Name: test.account, Password: "secret"}}, Master: master, IMAPMetadata: true,
						ExtraConfig: patient(version) + "auth_username_format = " + test.format + "\n",
					}, f.url("https"))
					block := registrars[0].block(dovecot)
					if way == "imap" {
						block = "imap imap://" + dovecot.IMAPAddr() + "\n" // users register with their own login
					}
					f.Setenv(registrars[0].env(dovecot))
					f.config = strings.Replace(f.config, "dovecot_push {\n", "dovecot_push {\n"+block, 1)
					f.Stop()
					f.config = strings.Replace(f.config, "127.0.0.1:1\n", dovecot.IMAPAddr()+"\n", 1)
					f.start(t)
					awaitCertificate(t, f.address)

					p := f.person(t)
					require.Equal(t, http.StatusOK, p.signIn(test.login, password))
					_, session := p.call(http.MethodGet, "/api/session", "")
					assert.Equal(t, test.user, session["user"])
					mine := p.listen()
					mine.connected(1)
					require.Eventually(t, func() bool {
						out, _ := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", test.account, "", dovecottest.MetadataKey)
						return strings.Contains(out, "user="+test.user)
					}, waitTimeout, waitTimeout/100)
					deliver(t, dovecot, "Hello", test.account)
					assert.Equal(t, "Hello", mine.wait(1)[0].Subject)
				})
			}
		}
	})
}

// Every name that somebody may give is served, or refused by name, at every door,
// and nobody else is stopped.
func TestOddNamesAtEveryDoor(t *testing.T) {
	t.Parallel()
	f, dovecot, _ := startRegistering(t, dovecottest.Config{Version: dovecottest.V23, Users: users(1)}, registrars[0], "register on_subscribe")
	long := strings.Repeat("y", 3000)
	for _, name := range []string{"*", "a*b", "user?", "tab\tname", long, "carol smith", "..", ">", "nobody", "müller@example.org"} {
		out, err := f.command("register", "--", name)
		require.Error(t, err, "%.20q", name)
		assert.NotContains(t, out, "queue is not available", name)
		assert.NotContains(t, out, "Dovecot right now", name)
		switch name {
		case "*", "a*b", "user?":
			assert.Contains(t, out, "it has * or ?")
		case "tab\tname":
			assert.Contains(t, out, "control character")
		case long:
			assert.Contains(t, out, "longer than 512 bytes")
		default:
			assert.Contains(t, out, "not known to Dovecot")
		}
		out, _ = f.command("unregister", "--", name)
		assert.NotContains(t, out, "queue is not available", name)
		out, _ = f.command("subscriptions", "--", name)
		assert.NotContains(t, out, "queue is not available", name)
	}
	out, err := f.command("register", "USER0@example.com")
	require.NoError(t, err, out)
	assert.Contains(t, out, "user0@example.com: registered")
	assert.Equal(t, "user=user0@example.com"+ourMark, valueIn(t, dovecot, "user0@example.com"))
	out, err = f.command("status")
	require.NoError(t, err, out)
}
