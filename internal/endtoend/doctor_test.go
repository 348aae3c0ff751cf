// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

type finding struct{ Check, Status, Tried, Got, Fix string }

// examine runs the doctor against a Caddy and the configuration of a Dovecot.
func examine(t *testing.T, f *front, dovecot *dovecottest.Server, args ...string) []finding {
	t.Helper()
	config, err := dovecot.Doveconf()
	require.NoError(t, err)
	findings, out := examineConfig(t, f, config, args...)
	assert.NotContains(t, out, dovecot.APIKey())
	return findings
}

// examineConfig does so with what doveconf has printed.
func examineConfig(t *testing.T, f *front, config string, args ...string) ([]finding, string) {
	t.Helper()
	// Dovecot may see its files in a root directory of its own.
	if ca := regexp.MustCompile(`ca_file = (\S+)`).FindStringSubmatch(config); ca != nil {
		config = strings.ReplaceAll(config, ca[1], f.RootCA())
	}
	file := filepath.Join(t.TempDir(), "doveconf.txt")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	args = append([]string{"dovecot-push", "doctor", "--json", "--address", f.Admin, "--doveconf", file}, args...)
	out, _ := f.Command(args...)
	var findings []finding
	require.NoError(t, json.NewDecoder(strings.NewReader(out[strings.Index(out, "["):])).Decode(&findings), out)
	for _, secret := range []string{notifyPassword, "notify%3Asecret", oxPassword} {
		assert.NotContains(t, out, secret)
	}
	return findings, out
}

// wrong are the findings that are not in order. How long the endpoint takes is the
// machine's.
func wrong(findings []finding) []finding {
	var found []finding
	for _, f := range findings {
		if (f.Status == "problem" || f.Status == "warning") && f.Check != "endpoint-latency" {
			found = append(found, f)
		}
	}
	return found
}

// The doctor finds nothing where all is well, follows a real mail until it has
// come out, and names mistakes in the Caddyfile, one by one.
func TestDoctor(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		ox := startMiddleware(t)
		f := startFront(t, ox.addr)
		extra := "protocol lda {\n mail_plugins = $mail_plugins notify push_notification\n}\n"
		if version == dovecottest.V24 {
			extra = "protocol lda {\n mail_plugins {\n notify = yes\n push_notification = yes\n }\n}\n"
		}
		dovecot := startDovecot(t, version, f, dovecottest.Config{Users: users(1), ExtraConfig: extra}, f.url("https"))

		found := examine(t, f, dovecot, "--user", "user0@example.com", "--deliver", dovecot.LMTPAddr())
		assert.Empty(t, wrong(found))
		assert.Contains(t, ox.wait(1)[0].Subject, "Test of push notifications")
		assert.NotContains(t, f.Log(), "/dovecot_push/vapid", "asked for keys of Web Push, which is not configured")

		right := f.config
		for name, c := range map[string]struct{ old, with, check, says string }{
			"another password": {"credentials dovecot {env.NOTIFY_PASSWORD}", "credentials dovecot {env.OX_PASSWORD}", "endpoint-credentials", "401"},
			"another user":     {"credentials dovecot {env.NOTIFY_PASSWORD}", "credentials other {env.NOTIFY_PASSWORD}", "endpoint-credentials", "401"},
			"not allowed":      {"allow private_ranges", "allow 192.0.2.1", "endpoint-allow", "403"},
			"everybody":        {"allow private_ranges", "allow 0.0.0.0/0", "guard", "everybody"},
			"no credentials":   {"credentials dovecot {env.NOTIFY_PASSWORD}", "unauthenticated", "endpoint-stranger", "shows none"},
			"another site":     {"tls internal\n\timport notify", "tls internal", "endpoint-path", "not from the notify endpoint"},
			"plain HTTP":       {"https://" + f.https, "http://" + f.https, "endpoint-tls", "does not talk TLS"},
			"another port":     {"https://" + f.https, "https://" + freeAddress(t), "endpoint", "nothing listens"},
		} {
			t.Run(name, func(t *testing.T) {
				config := strings.ReplaceAll(right, c.old, c.with)
				require.NotEqual(t, right, config)
				config = strings.ReplaceAll(config, "tls internal\n\timport", tlsUnless(c.with)+"import")
				require.NoError(t, f.Reload(config))
				found := wrong(examine(t, f, dovecot))
				if assert.Len(t, distinct(found), 1, "%v", found) {
					assert.Equal(t, c.check, found[0].Check)
					assert.Contains(t, found[0].Got, c.says)
					assert.NotEmpty(t, found[0].Fix)
				}
			})
		}
		t.Run("no target", func(t *testing.T) {
			require.NoError(t, f.Reload(withoutTarget.ReplaceAllString(right, "")))
			found := wrong(examine(t, f, dovecot))
			require.Len(t, found, 1)
			assert.Equal(t, "targets", found[0].Check)
		})
		t.Run("target down", func(t *testing.T) {
			require.NoError(t, f.Reload(strings.ReplaceAll(right, ox.addr, freeAddress(t))))
			found := wrong(examine(t, f, dovecot))
			require.Len(t, found, 1)
			assert.Equal(t, "targets", found[0].Check)
			assert.Contains(t, found[0].Got, "0 wait for it", "before anything was sent to it")
		})
		t.Run("target refuses", func(t *testing.T) {
			require.NoError(t, f.Reload(strings.ReplaceAll(right, "{env.OX_PASSWORD}", "{env.NOTIFY_PASSWORD}")))
			found := wrong(examine(t, f, dovecot))
			require.Len(t, found, 1)
			assert.Equal(t, "targets", found[0].Check)
			assert.Contains(t, found[0].Got, "the middleware answers 401 Unauthorized")
			assert.Contains(t, found[0].Fix, "credentials")

			// The last attempt is shown, though one is not enough to count as
			// down.
			require.NoError(t, f.Reload(right))
			ox.mu.Lock()
			ox.status = http.StatusInternalServerError
			ox.mu.Unlock()
			taken(t, f.http, notification(1000))
			require.Eventually(t, func() bool {
				out, err := f.Command("dovecot-push", "status", "--address", f.Admin)
				return err == nil && strings.Contains(out, "failed: the middleware answers 500 Internal Server Error")
			}, waitTimeout, waitTimeout/300)
			ox.mu.Lock()
			ox.status = http.StatusOK
			ox.mu.Unlock()
		})
		t.Run("no Caddy", func(t *testing.T) {
			f.Stop()
			found := wrong(examine(t, f, dovecot))
			checks := make(map[string]bool)
			for _, f := range found {
				checks[f.Check] = true
			}
			assert.Equal(t, map[string]bool{"caddy": true, "endpoint": true}, checks)
		})
	})
}

var withoutTarget = regexp.MustCompile(`(?s)deliver middleware \{.*?\n\t\t\}`)

func tlsUnless(address string) string {
	if strings.HasPrefix(address, "http://") {
		return ""
	}
	return "tls internal\n\t"
}

// distinct are findings without those that say the same of two endpoints.
func distinct(findings []finding) map[string]bool {
	all := make(map[string]bool)
	for _, f := range findings {
		all[f.Check+f.Got] = true
	}
	return all
}

// A test notification is followed through the queue to each target, also one
// that is down.
func TestSendTest(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	f := startFront(t, ox.addr)
	out, err := f.Command("dovecot-push", "send-test", "alice@example.com", "--address", f.Admin)
	require.NoError(t, err, out)
	assert.Contains(t, out, "stored")
	assert.Contains(t, out, "delivered")
	got := ox.wait(1)[0]
	assert.Equal(t, "alice@example.com", got.User)
	assert.Equal(t, "Test notification", got.Subject)

	// However the login is written: Dovecot has it in lower case.
	out, err = f.Command("dovecot-push", "send-test", "Alice@Example.com", "--address", f.Admin)
	require.NoError(t, err, out)
	assert.Equal(t, "alice@example.com", ox.wait(2)[1].User)

	require.NoError(t, f.Reload(strings.ReplaceAll(f.config, ox.addr, freeAddress(t))))
	out, err = f.Command("dovecot-push", "send-test", "alice@example.com", "--wait", "10s", "--json", "--address", f.Admin)
	require.Error(t, err, out)
	assert.Contains(t, out, `"what":"failed"`)
	assert.Contains(t, out, "middleware has not")

	// Who has no device is not waited for.
	withPush := strings.Replace(f.config, "\t\tdeliver middleware {", "\t\tdeliver webpush {\n\t\t\tcontact mailto:postmaster@example.com\n\t\t}\n\t\tdeliver middleware {", 1)
	require.NotEqual(t, f.config, withPush)
	require.NoError(t, f.Reload(withPush))
	out, err = f.Command("dovecot-push", "send-test", "alice@example.com", "--address", f.Admin)
	require.NoError(t, err, out)
	assert.Regexp(t, `webpush +skipped: `, out)

	out, err = f.Command("dovecot-push", "send-test", "", "--address", f.Admin)
	require.Error(t, err)
	assert.Contains(t, out, "user")

	// Who follows hears that the configuration was replaced.
	require.NoError(t, f.Reload(strings.ReplaceAll(f.config, ox.addr, freeAddress(t))))
	resp, err := http.Get("http://" + f.Admin + "/dovecot_push/follow?user=alice@example.com&time=10m")
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	require.True(t, lines.Scan())
	assert.Contains(t, lines.Text(), `"what":"following"`)
	require.NoError(t, f.Reload(f.config))
	require.True(t, lines.Scan(), lines.Err())
	assert.Contains(t, lines.Text(), `"what":"reloaded"`)
	assert.False(t, lines.Scan())
}

// Health is asked by those who may come in, through the admin API and at the
// path of the endpoint's own option, and looks at the real queue.
func TestHealth(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	f := startFront(t, ox.addr, "NOTIFY\n", "health /alive\n")
	get := func(u string) (int, string) {
		t.Helper()
		resp, err := http.Get(u)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}
	status, body := get("http://" + f.Admin + "/dovecot_push/health/ready")
	assert.Equal(t, http.StatusOK, status)
	assert.JSONEq(t, `{"ready":true,"targets":{"middleware":true}}`, body)
	status, _ = get("http://" + f.Admin + "/dovecot_push/health/live")
	assert.Equal(t, http.StatusOK, status)
	status, body = get("http://" + f.http + "/alive")
	assert.Equal(t, http.StatusNoContent, status)
	assert.Empty(t, body)

	require.NoError(t, f.Reload(strings.ReplaceAll(f.config, "allow private_ranges", "allow 192.0.2.1")))
	status, _ = get("http://" + f.http + "/alive")
	assert.Equal(t, http.StatusForbidden, status)

	// A queue that is full takes nothing in, and says so.
	full := strings.Replace(f.config, "queue embedded {", "queue embedded {\nmax_bytes 6KiB\n", 1)
	full = strings.ReplaceAll(full, ox.addr, freeAddress(t))
	require.NoError(t, f.Reload(full))
	for i := range 50 {
		status, _, err := put(http.DefaultClient, f.http, notification(uint32(i+1)))
		require.NoError(t, err)
		if status == http.StatusServiceUnavailable {
			break
		}
	}
	require.Eventually(t, func() bool {
		status, body = get("http://" + f.Admin + "/dovecot_push/health/ready")
		return status == http.StatusServiceUnavailable && strings.Contains(body, "queue is full")
	}, waitTimeout, waitTimeout/300, "%d %s", status, body)
	status, _ = get("http://" + f.http + "/alive")
	assert.Equal(t, http.StatusServiceUnavailable, status)
}

// With a connector, the doctor looks at it, and whether a user is registered.
func TestDoctorOnRegistration(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	f := newFront(t, ox.addr)
	extra := "protocol lda {\n mail_plugins = $mail_plugins notify push_notification\n}\n" +
		"doveadm_allowed_commands = mailbox metadata set,mailbox metadata get,mailbox metadata unset,mailbox status,fetch\n"
	f.start(t)
	dovecot := dovecottest.Start(t, dovecottest.Config{
		Version: dovecottest.V23, Users: users(2), ExtraConfig: extra, SSLClientCAFile: f.RootCA(),
		Drivers: []dovecottest.Driver{{URL: f.url("https")}},
	})
	f.Setenv("DOVEADM_API_SECRET=" + dovecot.APIKey())
	f.Stop()
	f.config = strings.Replace(f.config, "\t\tdeliver middleware {", "\t\tdoveadm "+dovecot.DoveAdmURL()+" {\n\t\t\tapi_secret {env.DOVEADM_API_SECRET}\n\t\t}\n\t\tdeliver middleware {", 1)
	f.start(t)

	found := wrong(examine(t, f, dovecot, "--user", "user0@example.com"))
	require.Len(t, found, 1, "%v", found)
	assert.Equal(t, "registered", found[0].Check)
	out, err := f.Command("dovecot-push", "register", "user0@example.com", "--address", f.Admin)
	require.NoError(t, err, out)
	assert.Empty(t, wrong(examine(t, f, dovecot, "--user", "user0@example.com")))
	found = wrong(examine(t, f, dovecot, "--user", "nobody@example.com"))
	require.Len(t, found, 1, "%v", found)
	assert.Equal(t, "registered", found[0].Check)
	out, err = f.Command("dovecot-push", "send-test", "nobody@example.com", "--address", f.Admin)
	require.Error(t, err, out)
	assert.Contains(t, out, "the user is not known to Dovecot")

	// An entry that something else has set is reported by another name.
	require.NoError(t, dovecot.RegisterValue("user1@example.com", "user=17@4"))
	assert.Empty(t, wrong(examine(t, f, dovecot, "--user", "user1@example.com", "--deliver", dovecot.LMTPAddr())))

	// What Caddy remembers of Dovecot is not what counts.
	config, err := dovecot.Doveconf()
	require.NoError(t, err)
	require.NoError(t, dovecot.Stop())
	found, _ = examineConfig(t, f, config, "--user", "user0@example.com")
	found = wrong(found)
	checks := make(map[string]string)
	for _, one := range found {
		checks[one.Check] = one.Got + " " + one.Fix
	}
	assert.Contains(t, checks["doveadm"], "firewall", "%v", found)
	assert.Contains(t, checks["registered"], "could not be read", "%v", found)
	assert.NotContains(t, checks["registered"], "there is none")
	require.NoError(t, dovecot.Restart(t.Context()))

	f.Stop()
	f.Setenv("DOVEADM_API_SECRET=another")
	f.start(t)
	found = wrong(examine(t, f, dovecot))
	require.Len(t, found, 1, "%v", found)
	assert.Equal(t, "doveadm", found[0].Check)
	assert.Contains(t, found[0].Fix, "doveadm_api_key")
	assert.NotContains(t, found[0].Fix, "firewall")
}

// The name by which a mail is reported is that of the METADATA entry, if the
// driver says so.
func TestDoctorFollowsTheEntry(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		ox := startMiddleware(t)
		f := startFront(t, ox.addr)
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: users(1), SSLClientCAFile: f.RootCA(),
			Drivers: []dovecottest.Driver{{URL: f.url("https"), UserFromMetadata: true, Timeout: 5 * time.Second, MaxAttempts: 2}},
		})
		require.NoError(t, dovecot.RegisterValue("user0@example.com", "user=17@4"))
		assert.Empty(t, wrong(examine(t, f, dovecot, "--user", "user0@example.com", "--deliver", dovecot.LMTPAddr())))
		assert.Equal(t, "17@4", ox.wait(1)[0].User)
	})
}

// For https://[::1] Dovecot sends a server name that Caddy refuses: the doctor
// sends the same one, and finds out.
func TestDoctorOnAnIPv6Address(t *testing.T) {
	t.Parallel()
	f := newFront(t, freeAddress(t))
	_, port, err := net.SplitHostPort(f.https)
	require.NoError(t, err)
	f.config = strings.ReplaceAll(f.config, "https://"+f.https, "https://[::1]:"+port)
	f.https = "[::1]:" + port
	require.NoError(t, f.Run(f.config), f.Log())
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte(notifyPassword), 0o600))
	awaitCertificate(t, f.https)
	out, err := f.Command("dovecot-push", "doctor", "--address", f.Admin, "--dovecot", "/nowhere.conf",
		"--url", "https://dovecot@"+f.https+notifyPath, "--password-file", password, "--ca-file", f.RootCA())
	require.Error(t, err)
	assert.Regexp(t, `PROBLEM +endpoint-tls: .* with the server name \[::1\], as Dovecot sends it: the server ends the handshake`, out)
}

// While Caddy starts, it is not said that nothing is configured. The start
// waits for a secret whose file is a pipe until the test writes into it.
func TestCommandWhileCaddyStarts(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	c := caddytestkit.New(t)
	started := make(chan error, 1)
	go func() {
		started <- c.Run(fmt.Sprintf(`{
	dovecot_push {
		doveadm http://127.0.0.1:1/doveadm/v1 {
			api_secret {file.%s}
		}
	}
}
`, pipe))
	}()
	secret, err := os.OpenFile(pipe, os.O_WRONLY, 0) // returns when Caddy reads
	require.NoError(t, err)
	out, err := c.Command("dovecot-push", "status", "--address", c.Admin)
	require.Error(t, err)
	assert.NotContains(t, out, "has no dovecot_push")
	assert.Contains(t, out, "Caddy is still starting")
	_, err = secret.WriteString("secret")
	require.NoError(t, errors.Join(err, secret.Close()))
	require.NoError(t, <-started)
	out, err = c.Command("dovecot-push", "status", "--address", c.Admin)
	require.NoError(t, err, out)
}

// withDoveAdm is a front that registers users over a Dovecot, with options of
// the global option.
func withDoveAdm(t *testing.T, dovecot *dovecottest.Server, options string) *front {
	t.Helper()
	f := newFront(t, startMiddleware(t).addr)
	f.Setenv("DOVEADM_API_SECRET=" + dovecot.APIKey())
	f.config = strings.Replace(f.config, "\t\tdeliver middleware {", "\t\tdoveadm "+dovecot.DoveAdmURL()+
		" {\n\t\t\tapi_secret {env.DOVEADM_API_SECRET}\n\t\t}\n"+options+"\n\t\tdeliver middleware {", 1)
	f.start(t)
	return f
}

var inService = regexp.MustCompile(`doveadm \S+ in service`)

// Where nobody is registered without being asked, no attempt says that an outage
// is over: the connector does.
func TestStatusOfAnOutageThatIsOver(t *testing.T) {
	t.Parallel()
	dovecot := dovecottest.Start(t, dovecottest.Config{Version: dovecottest.V23, Users: users(1)})
	f := withDoveAdm(t, dovecot, "register off")
	status := func() string {
		out, err := f.Command("dovecot-push", "status", "--address", f.Admin)
		require.NoError(t, err, out)
		return out
	}
	require.NoError(t, dovecot.Stop())
	require.Eventually(t, func() bool {
		_, _ = f.Command("dovecot-push", "register", "user0@example.com", "--address", f.Admin)
		return strings.Contains(status(), "DOES NOT WORK")
	}, waitTimeout, waitTimeout/300)
	require.NoError(t, dovecot.Restart(t.Context()))
	require.Eventually(t, func() bool {
		out := status()
		return inService.MatchString(out) && !strings.Contains(out, "DOES NOT WORK")
	}, 2*waitTimeout, waitTimeout/60)
}

// With register all, a Dovecot that cannot list its users is no registration
// that works.
func TestStatusWhereUsersCannotBeListed(t *testing.T) {
	t.Parallel()
	dovecot := dovecottest.Start(t, dovecottest.Config{Version: dovecottest.V23, Users: users(1), NoIteration: true})
	f := withDoveAdm(t, dovecot, "register all")
	require.Eventually(t, func() bool {
		out, err := f.Command("dovecot-push", "status", "--address", f.Admin)
		require.NoError(t, err, out)
		return strings.Contains(out, "registration all via doveadm DOES NOT WORK: the users cannot be listed")
	}, waitTimeout, waitTimeout/100)
	config, err := dovecot.Doveconf()
	require.NoError(t, err)
	found, _ := examineConfig(t, f, config)
	var checks []string
	for _, one := range wrong(found) {
		checks = append(checks, one.Check)
	}
	assert.Contains(t, checks, "users")
}

// Two Caddys can have the same port, and each gets a part of the requests.
func TestDoctorFindsAnotherCaddyOnThePort(t *testing.T) {
	t.Parallel()
	f := startFront(t, startMiddleware(t).addr)
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte(notifyPassword), 0o600))
	ask := func() string {
		out, _ := f.Command("dovecot-push", "doctor", "--address", f.Admin, "--dovecot", "/nowhere.conf",
			"--url", "http://dovecot@"+f.http+notifyPath, "--password-file", password)
		return out
	}
	assert.Contains(t, ask(), "endpoint-shared: PUT http://"+f.http+notifyPath+": one Caddy answers")
	other := caddytestkit.New(t, "NOTIFY_PASSWORD="+notifyPassword, "OX_PASSWORD="+oxPassword)
	require.NoError(t, other.Run(f.config), other.Log())
	require.Eventually(t, func() bool { return strings.Contains(ask(), "2 Caddys answer") }, waitTimeout, waitTimeout/100)
}

// A user who is registered when they sign in is no failure.
func TestRegistrationsOfAUserWhoMustSignIn(t *testing.T) {
	t.Parallel()
	dovecot := dovecottest.Start(t, dovecottest.Config{Version: dovecottest.V23, Users: users(1), IMAPMetadata: true})
	f := newFront(t, startMiddleware(t).addr)
	f.config = strings.Replace(f.config, "\t\tdeliver middleware {", "\t\timap imap://"+dovecot.IMAPAddr()+"\n\t\tdeliver middleware {", 1)
	f.start(t)
	_, _ = f.Command("dovecot-push", "register", "user0@example.com", "--address", f.Admin)
	out, err := f.Command("dovecot-push", "registrations", "user0@example.com", "--address", f.Admin)
	require.NoError(t, err, out)
	assert.Contains(t, out, "needs_login")
}
