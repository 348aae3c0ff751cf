// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
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

// Somebody whose login Dovecot takes, while it reports their mail under another
// name that it does not tell, is told so.
func TestLoginThatDovecotRenames(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		renames := "passdb {\n  driver = static\n  args = user=user0@example.com password=other-secret\n}\n"
		if version == dovecottest.V24 {
			renames = "passdb renames {\n  driver = static\n  static_password = other-secret\n  fields {\n    user = user0@example.com\n  }\n}\n"
		}
		service := pushtest.Start(t)
		f := &withAPI{newFront(t, startMiddleware(t).addr), freeAddress(t)}
		dovecot := dovecottest.Start(t, dovecottest.Config{Version: version, Users: users(1), ExtraConfig: patient(version) + renames})
		f.deliverToDevices(t, dovecot, service)
		p := f.person(t)
		require.Equal(t, http.StatusOK, p.signIn("user0", "other-secret"))
		_, session := p.call(http.MethodGet, "/api/session", "")
		assert.Equal(t, "user0", session["user"])
		assert.Contains(t, session["notice"], "The mail server knows no user of this name.")
		p = f.person(t)
		require.Equal(t, http.StatusOK, p.signIn("user0@example.com", "pass"))
		_, session = p.call(http.MethodGet, "/api/session", "")
		assert.NotContains(t, session, "notice")
	})
}

// Every name is served, or refused with what is wrong with it, at every door: the
// endpoint, Dovecot's METADATA, sign-in, the API of users, the admin API, the
// command, Dovecot's list of its users. Nobody else is stopped.
func TestOddNamesAtEveryDoor(t *testing.T) {
	t.Parallel()
	const account, noAccount, wildcard, control = "", "not known to Dovecot", "* or ?", "control character"
	names := map[string]string{ // and what is wrong with each
		"-A": account, ">": account, "carol smith": account, "müller@example.org": account, "Carol@Example.COM": account,
		`dave"quote`: noAccount, "eve'apos": noAccount, ".": noAccount, " ": noAccount, strings.Repeat("y", 512): noAccount,
		"*": wildcard, "a*b": wildcard, "user?": wildcard,
		"": "is empty", strings.Repeat("y", 3000): "longer than 512 bytes", "tab\tname": control, "nul\x00name": control,
	}
	canBe := func(wrong string) bool { return slices.Contains([]string{account, noAccount, wildcard}, wrong) }
	accounts := users(2)
	alice, carrier := accounts[0].Name, accounts[1].Name
	for name, wrong := range names {
		// Dovecot lists those with quotes, and finds them no more: it asks its
		// passwd-file for them with backslashes.
		if wrong == account || strings.ContainsAny(name, `"'`) {
			accounts = append(accounts, dovecottest.User{Name: name, Password: "pass"})
		}
	}
	ox, service := startMiddleware(t), pushtest.Start(t)
	f := &withAPI{newFront(t, ox.addr), freeAddress(t)}
	dovecot := dovecottest.Start(t, dovecottest.Config{
		Version: dovecottest.V23, Users: accounts, NoFailureDelay: true,
		ExtraConfig: patient(dovecottest.V23) + "auth_username_chars =\nauth_username_format = %u\n",
		Drivers:     []dovecottest.Driver{{URL: f.url("http"), UserFromMetadata: true, Timeout: 10 * time.Second, MaxAttempts: 2}},
	})
	f.deliverToDevices(t, dovecot, service)
	reported := func(user, subject string) bool {
		return slices.ContainsFunc(decode(t, ox.got()), func(n received) bool { return n.User == user && n.Subject == subject })
	}
	people := 0
	newPerson := func() *person { // each comes from another address
		people++
		p := f.person(t)
		from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(people))}}
		p.client.Transport.(*http.Transport).DialContext = from.DialContext
		return p
	}
	witness := newPerson()
	require.Equal(t, http.StatusOK, witness.signIn(alice, "pass"))
	phone, _ := witness.subscribe(service)

	for name, wrong := range names {
		encoded, err := json.Marshal(name)
		require.NoError(t, err)
		t.Run(fmt.Sprintf("%.20q", name), func(t *testing.T) {
			// The endpoint.
			status, said, err := put(http.DefaultClient, f.http, fmt.Sprintf(`{"user":%s,"event":"messageNew","folder":"INBOX","imap-uidvalidity":1,"imap-uid":1,"subject":"body"}`, encoded))
			require.NoError(t, err)
			if canBe(wrong) {
				assert.Equal(t, http.StatusOK, status, said)
				assert.Eventually(t, func() bool { return reported(name, "body") }, waitTimeout, 10*time.Millisecond)
			} else {
				assert.Equal(t, http.StatusBadRequest, status)
				assert.Contains(t, said, `"field":"user"`)
			}

			// METADATA.
			if !strings.Contains(name, "\x00") { // which cannot be written
				require.NoError(t, dovecot.RegisterValue(carrier, "user="+name))
				deliver(t, dovecot, "metadata", carrier)
				if canBe(wrong) {
					assert.Eventually(t, func() bool { return reported(name, "metadata") }, waitTimeout, 10*time.Millisecond)
				}
			}

			// Sign-in and the API of users.
			p, program := newPerson(), newPerson().as(name, "pass")
			if wrong == account {
				require.Equal(t, http.StatusOK, p.signIn(name, "pass"))
				device, _ := p.subscribe(service)
				require.Eventually(t, func() bool { return valueIn(t, dovecot, name) == "user="+name+ourMark }, waitTimeout, 50*time.Millisecond)
				taken(t, f.http, fmt.Sprintf(`{"user":%s,"event":"messageNew","folder":"INBOX","imap-uidvalidity":1,"imap-uid":2,"subject":"push"}`, encoded))
				assert.Equal(t, "push", mailOf(t, device.Wait(2)[1]).Subject)
				status, list := program.call(http.MethodGet, "/api/subscriptions", "")
				assert.Equal(t, http.StatusOK, status)
				assert.Len(t, list["subscriptions"], 1)
			} else {
				assert.Equal(t, http.StatusUnauthorized, p.signIn(name, "pass"))
				status, _ := program.call(http.MethodGet, "/api/subscriptions", "")
				assert.Equal(t, http.StatusUnauthorized, status)
			}

			// The admin API.
			resp, err := http.Post("http://"+f.Admin+"/dovecot_push/registrations", "application/json", strings.NewReader(`{"action":"register","users":[`+string(encoded)+`]}`))
			require.NoError(t, err)
			defer resp.Body.Close()
			lines, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			if wrong == account {
				assert.Contains(t, string(lines), `"state":"registered"`)
			} else {
				assert.Contains(t, string(lines), wrong)
			}
			resp, err = http.Get("http://" + f.Admin + "/dovecot_push/subscriptions?user=" + url.QueryEscape(name))
			require.NoError(t, err)
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			if canBe(wrong) {
				assert.Equal(t, http.StatusOK, resp.StatusCode)
			} else {
				assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
				assert.Contains(t, string(body), wrong)
			}
		})
	}

	// The command, which takes all at once but what cannot be an argument.
	args := []string{"register", "--"}
	for name := range names {
		if name != "" && !strings.Contains(name, "\x00") {
			args = append(args, name)
		}
	}
	out, err := f.command(args...)
	require.Error(t, err)
	for _, name := range args[2:] {
		if wrong := names[name]; wrong == account {
			assert.Contains(t, out, name+": registered")
		} else {
			assert.Contains(t, out, wrong)
		}
	}

	// Dovecot's list of its users.
	out, err = f.command("register", "--all")
	require.Error(t, err)
	for _, a := range accounts {
		switch wrong := names[a.Name]; {
		case wrong != account:
			assert.Contains(t, out, a.Name+": the user is not known to Dovecot")
		case a.Name != carrier: // whose entry is not ours
			assert.Contains(t, out, a.Name+": registered")
			assert.Equal(t, "user="+a.Name+ourMark, valueIn(t, dovecot, a.Name))
		}
	}
	out, err = f.command("status")
	require.NoError(t, err, out)
	deliver(t, dovecot, "for the witness", alice)
	assert.Equal(t, "for the witness", mailOf(t, phone.Wait(2)[1]).Subject)
}
