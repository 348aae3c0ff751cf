// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// No line of the log names a user, a sender, a subject or a secret, whatever
// logger writes it, at level DEBUG: at the endpoint, while people sign in, have
// streams and devices, while users are registered and mails are delivered,
// refused and replayed. Caddy's own log of its admin API has the paths that an
// operator asked for.
func TestNothingOfAUserInTheLog(t *testing.T) {
	t.Parallel()
	// Words that come from nothing else than a user, a mail or a secret.
	const user, other, nobody, subject, sender = "canaryuser@example.com", "canaryother@example.com", "canarynobody@example.com", "Canarysubject", "canarysender"
	words := []string{"canary", "Canary", "REDACTED@", notifyPassword, oxPassword, "canarypass"}

	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		service := pushtest.Start(t)
		var refuse atomic.Bool
		refuse.Store(true)
		hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if refuse.Load() {
				w.WriteHeader(http.StatusBadRequest)
			}
		}))
		defer hook.Close()
		f := &withAPI{newFront(t, startMiddleware(t).addr), freeAddress(t)}
		f.config = strings.NewReplacer(
			"skip_install_trust", "skip_install_trust\nlog {\nlevel DEBUG\n}",
			"dovecot_push {\n", "dovecot_push {\ndeliver webhook hook {env.HOOK} {\ncontent full\n}\n",
		).Replace(f.config)
		f.config = strings.Replace(f.config, "tls internal\n", "tls internal\nlog\n", 1) // the requests to the endpoint, too
		f.Setenv("HOOK=" + hook.URL + "/canaryhook")
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, ExtraConfig: patient(version),
			Users:   []dovecottest.User{{Name: user, Password: "canarypass"}, {Name: other, Password: "canarypass"}},
			Drivers: []dovecottest.Driver{{URL: f.url("http"), Timeout: waitTimeout, MaxAttempts: 2}},
		})
		f.deliverToDevices(t, dovecot, service)
		command := func(args ...string) string {
			t.Helper()
			out, err := f.Command(append(append([]string{"dovecot-push"}, args...), "--address", f.Admin)...)
			require.NoError(t, err, out)
			return out
		}

		// Sign-ins, wrong ones as well; a stream, a device.
		p := f.person(t)
		require.Equal(t, http.StatusUnauthorized, p.signIn(user, "canarywrong"))
		require.Equal(t, http.StatusUnauthorized, p.signIn(nobody, "canarywrong"))
		require.Equal(t, http.StatusOK, p.signIn(user, "canarypass"))
		stream := p.listen()
		stream.connected(1)
		phone, _ := p.subscribe(service)

		// A registration that works, one that does not, and one that is undone.
		command("register", other)
		out, err := f.Command("dovecot-push", "register", nobody, "--address", f.Admin)
		require.Error(t, err, out)
		command("registrations", user)

		// A mail, which the webhook refuses; it is shown, replayed, and followed.
		require.Eventually(t, func() bool {
			out, _ := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", user, "", dovecottest.MetadataKey)
			return strings.Contains(out, "user="+user)
		}, waitTimeout, waitTimeout/1000)
		for _, to := range []string{user, other} {
			_, err := dovecot.Deliver(sender+"@example.net", []string{to},
				[]byte("From: "+sender+"@example.net\r\nSubject: "+subject+"\r\n\r\nCanarytext\r\n"))
			require.NoError(t, err)
		}
		stream.wait(1)
		phone.Wait(2)
		letters := func() (all []struct{ Number uint64 }) {
			require.NoError(t, json.Unmarshal([]byte(command("dead-letters", "--json")), &all))
			return all
		}
		require.Eventually(t, func() bool { return len(letters()) == 2 }, waitTimeout, waitTimeout/100)
		assert.Contains(t, command("dead-letters", "--content"), subject)
		refuse.Store(false)
		command("replay", "--all")
		command("send-test", user)
		command("subscriptions", user)
		command("unregister", other)
		command("status")

		// What the endpoint does not take.
		for _, body := range []string{
			strings.Replace(notification(1), "somebody", "canary", 1)[1:],
			strings.Replace(strings.Replace(notification(1), "somebody", "canary", 1), `"imap-uid":1`, `"imap-uid":"canary"`, 1),
			strings.Replace(strings.Replace(notification(1), "somebody", "canary", 1), "messageNew", "canaryEvent", 1),
		} {
			_, _, err := put(http.DefaultClient, f.http, body)
			require.NoError(t, err)
		}
		status, _ := p.call(http.MethodDelete, "/api/session", "")
		require.Equal(t, http.StatusNoContent, status)
		require.NoError(t, f.Reload(f.config+"\n# again\n"))
		require.NoError(t, dovecot.Stop()) // and what cannot be asked
		_, _ = f.Command("dovecot-push", "register", other, "--address", f.Admin)
		f.person(t).signIn(user, "canarypass")
		f.Stop()

		log := f.Log()
		for _, logger := range []string{`"logger":"events"`, `"logger":"dovecot_push"`, `"logger":"http.handlers.dovecot_push_notify"`, `"logger":"admin.api"`, `"level":"debug"`} {
			assert.Contains(t, log, logger)
		}
		for line := range strings.Lines(log) {
			var entry struct{ Logger, URI, Msg string }
			_ = json.Unmarshal([]byte(line), &entry)
			if entry.Logger == "admin.api" { // its paths are described in docs/security.md
				line = strings.ReplaceAll(line, entry.URI, "")
			}
			for _, word := range words {
				assert.NotContains(t, line, word)
			}
		}
	})
}
