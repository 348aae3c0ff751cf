// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

const appTopic = "com.example.mail"

// appServices are the services of Apple and Google, and what a Caddyfile has for them.
type appServices struct {
	apple  *pushtest.APNs
	google *pushtest.FCM
	caFile string

	appleKey, appleKeyID, account, accountKeyID string // of the Caddyfile
}

func startAppServices(t *testing.T) *appServices {
	t.Helper()
	s := &appServices{apple: pushtest.StartAPNs(t, appTopic), google: pushtest.StartFCM(t), caFile: filepath.Join(t.TempDir(), "ca.pem")}
	require.NoError(t, os.WriteFile(s.caFile, append(s.apple.CA(), s.google.CA()...), 0o600))
	s.rotate(t)
	return s
}

// rotate takes other keys into the Caddyfile.
func (s *appServices) rotate(t *testing.T) {
	t.Helper()
	s.appleKey, s.appleKeyID = s.apple.KeyFile(t)
	s.account, s.accountKeyID = s.google.AccountFile(t)
}

func (s *appServices) caddyfile(options string) string {
	return fmt.Sprintf("deliver apns {\nkey {file.%s}\nkey_id %s\nteam_id %s\ntopics %s\nendpoint %s\nsandbox_endpoint %s\n%s\n}\n",
		s.appleKey, s.appleKeyID, s.apple.TeamID, appTopic, s.apple.Origin, s.apple.Origin, options) +
		fmt.Sprintf("deliver fcm {\nservice_account {file.%s}\nendpoint %s\n%s\n}\n", s.account, s.google.Origin, options)
}

// deliverToApps starts a Caddy with people who sign in at a Dovecot and have apps.
// configure makes its configuration for the present keys.
func (f *withAPI) deliverToApps(t *testing.T, dovecot *dovecottest.Server, s *appServices, options string) (configure func()) {
	t.Helper()
	f.Setenv("API_SECRET=" + dovecot.APIKey())
	f.Setenv("SSL_CERT_FILE=" + s.caFile)
	before := f.config
	configure = func() {
		f.config = strings.Replace(before, "dovecot_push {\n", "dovecot_push {\n"+
			"doveadm "+dovecot.DoveAdmURL()+" {\napi_secret {env.API_SECRET}\n}\n"+
			"register on_subscribe {\ngrace 1ms\n}\n"+s.caddyfile(options), 1)
		f.config += "https://" + f.address + " {\ntls internal\ndovecot_push_api /push/* {\nlogin imap imap://" + dovecot.IMAPAddr() + "\n}\n}\n"
	}
	configure()
	f.start(t)
	awaitCertificate(t, f.address)
	return configure
}

// install gives a person an app, which hands in the code that it gets.
func (p *person) install(a *pushtest.App) (path string) {
	p.t.Helper()
	status, made := p.call(http.MethodPost, "/api/subscriptions", a.JSON(map[string]any{"name": "App " + a.Kind}))
	require.Equal(p.t, http.StatusCreated, status, made)
	require.Equal(p.t, []any{a.Kind, a.Name, false}, []any{made["kind"], made["app"], made["confirmed"]})
	path = "/api/subscriptions/" + made["id"].(string)
	var message struct {
		Type             string `json:"@type"`
		VerificationCode string
	}
	require.NoError(p.t, json.Unmarshal(a.Wait(1)[0].Text, &message))
	require.Equal(p.t, "PushVerification", message.Type)
	code, err := json.Marshal(map[string]string{"verificationCode": message.VerificationCode})
	require.NoError(p.t, err)
	status, made = p.call(http.MethodPatch, path, string(code))
	require.Equal(p.t, http.StatusOK, status, made)
	require.Equal(p.t, true, made["confirmed"])
	return path
}

// A mail comes to the apps on a person's phones, encrypted for each of them; an app
// that is removed from its phone gets nothing more and is not asked again.
func TestMailInApps(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		const alice = "user0@example.com"
		s := startAppServices(t)
		f := &withAPI{newFront(t, startMiddleware(t).addr), freeAddress(t)}
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: users(1), ExtraConfig: patient(version),
			Drivers: []dovecottest.Driver{{URL: f.url("http"), Timeout: 10 * time.Second, MaxAttempts: 2}},
		})
		f.deliverToApps(t, dovecot, s, "content full\nsealed")
		p := f.person(t)
		require.Equal(t, http.StatusOK, p.signIn(alice, "pass"))
		apps := []*pushtest.App{s.apple.Install(t, appTopic, ""), s.apple.Install(t, appTopic, "sandbox"), s.google.Install(t, s.google.Project)}
		paths := make([]string, len(apps))
		for i, a := range apps {
			paths[i] = p.install(a)
		}
		require.Eventually(t, func() bool {
			out, _ := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", alice, "", dovecottest.MetadataKey)
			return strings.Contains(out, "user="+alice)
		}, waitTimeout, 50*time.Millisecond)

		deliver(t, dovecot, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", alice)
		for _, a := range apps {
			m := a.Wait(2)[1]
			assert.True(t, m.Sealed)
			var got mail
			require.NoError(t, json.Unmarshal(m.Text, &got))
			assert.Equal(t, []any{"Grüße", "Alice Example <alice@example.net>", "INBOX", uint32(1), uint32(1)}, []any{got.Subject, got.From, got.Folder, got.UID, got.Unseen})
			assert.NotContains(t, string(m.Body), "INBOX", "the service knows nothing of it")
		}
		for i, a := range apps {
			status, answer := p.call(http.MethodPost, paths[i]+"/test", "")
			require.Equal(t, http.StatusAccepted, status, answer)
			assert.Contains(t, string(a.Wait(3)[2].Text), `"@type":"Test"`)
		}

		for _, a := range apps[1:] {
			a.Uninstall()
		}
		deliver(t, dovecot, "two apps are gone", alice)
		apps[0].Wait(4)
		require.Eventually(t, func() bool {
			_, list := p.call(http.MethodGet, "/api/subscriptions", "")
			return len(list["subscriptions"].([]any)) == 1
		}, waitTimeout, 50*time.Millisecond)
		out, err := f.command("subscriptions", alice)
		require.NoError(t, err, out)
		assert.Regexp(t, `App apns +apns +com\.example\.mail `, out)

		var metrics string
		require.Eventually(t, func() bool {
			metrics, err = f.Metrics()
			return err == nil && strings.Contains(metrics, `caddy_dovecot_push_delivery_attempts_total{outcome="gone",target="apns"} 1`) &&
				strings.Contains(metrics, `caddy_dovecot_push_delivery_attempts_total{outcome="gone",target="fcm"} 1`)
		}, waitTimeout, 50*time.Millisecond)
		assert.Contains(t, metrics, `caddy_dovecot_push_devices{kind="apns"} 1`)
		out, _ = f.command("doctor", "--json") // other checks may fail
		for _, text := range []string{metrics, f.Log(), out} {
			for _, a := range apps {
				assert.NotContains(t, text, a.Token)
			}
			assert.NotContains(t, text, "ya29.")
		}
	})
}

// Other keys are taken into use by a reload, while mails come: none fails, and APNs
// sees no token more than it has to.
func TestKeysOfAppsAreReplaced(t *testing.T) {
	t.Parallel()
	const alice = "user0@example.com"
	s := startAppServices(t)
	f := &withAPI{newFront(t, startMiddleware(t).addr), freeAddress(t)}
	dovecot := dovecottest.Start(t, dovecottest.Config{Version: dovecottest.V23, Users: users(1), ExtraConfig: patient(dovecottest.V23)})
	configure := f.deliverToApps(t, dovecot, s, "")
	p := f.person(t)
	require.Equal(t, http.StatusOK, p.signIn(alice, "pass"))
	apps := []*pushtest.App{s.apple.Install(t, appTopic, ""), s.google.Install(t, s.google.Project)}
	for _, a := range apps {
		p.install(a)
	}

	const mails = 60
	var wg sync.WaitGroup
	half := make(chan struct{})
	wg.Go(func() {
		for n := range mails { // of a folder of its own, so that none stands for another one
			body := fmt.Sprintf(`{"user":%q,"event":"messageNew","folder":"Lists/%d","imap-uidvalidity":1,"imap-uid":1,"from":"a@example.net","subject":"x"}`, alice, n)
			status, answer, err := put(http.DefaultClient, f.http, body)
			assert.NoError(t, err)
			assert.Equal(t, http.StatusOK, status, answer)
			if n == mails/3 {
				close(half)
			}
		}
	})
	<-half
	first := s.appleKeyID
	for n := range 3 { // the same key again and again
		require.NoError(t, f.Reload(strings.Replace(f.config, "dovecot_push_api /push/* {", fmt.Sprintf("header X-Reload %d\n\tdovecot_push_api /push/* {", n), 1)))
	}
	s.rotate(t)
	configure()
	require.NoError(t, f.Reload(f.config))
	wg.Wait()
	for _, a := range apps {
		require.Eventually(t, func() bool {
			seen := make(map[string]bool) // a reload may deliver again what was under way
			for _, m := range a.Wait(1)[1:] {
				var got mail
				require.NoError(t, json.Unmarshal(m.Text, &got))
				seen[got.Folder] = true
			}
			return len(seen) == mails
		}, waitTimeout, 50*time.Millisecond, a.Kind)
	}
	assert.Equal(t, 1, s.apple.Tokens(first), "one token outlives reloads")
	metrics, err := f.Metrics()
	require.NoError(t, err)
	for _, outcome := range []string{"misconfigured", "refused"} {
		for _, target := range []string{"apns", "fcm"} {
			assert.NotRegexp(t, `caddy_dovecot_push_delivery_attempts_total\{outcome="`+outcome+`",target="`+target+`"\} [1-9]`, metrics)
		}
	}
}

// What the doctor finds with Apple's and Google's keys.
func TestDoctorOfApps(t *testing.T) {
	t.Parallel()
	s := startAppServices(t)
	f := &withAPI{newFront(t, startMiddleware(t).addr), freeAddress(t)}
	dovecot := dovecottest.Start(t, dovecottest.Config{Version: dovecottest.V23, Users: users(1), ExtraConfig: patient(dovecottest.V23)})
	f.deliverToApps(t, dovecot, s, "")
	probes := func() map[string]string {
		var all []struct {
			Kind, Name, Answered string
			OK                   bool
		}
		resp, err := http.Post("http://"+f.Admin+"/dovecot_push/probe", "", nil)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&all))
		answers := make(map[string]string)
		for _, p := range all {
			answers[strings.TrimPrefix(p.Kind+" ", "target ")+p.Name] = fmt.Sprint(p.OK, " ", p.Answered)
		}
		return answers
	}
	all := probes()
	assert.Equal(t, "true it answers", all["apns"])
	assert.Equal(t, "true it answers", all["fcm"])
	assert.Regexp(t, "^true in use since .*, without an end$", all["key apns"])
	assert.Regexp(t, "^true in use since .*, without an end$", all["key fcm"])
	ends := time.Now().Add(20 * 24 * time.Hour).UTC()
	s.google.End(s.accountKeyID, ends)
	assert.Regexp(t, "^false in use since .*, ends on "+ends.Format(time.DateOnly), probes()["key fcm"])
	out, err := f.command("keys")
	require.NoError(t, err, out)
	assert.Regexp(t, `(?m)^apns +`+s.appleKeyID+` .* never$`, out)
	assert.Regexp(t, `(?m)^fcm +`+s.accountKeyID+` .* in (19|20) days$`, out)
	s.google.Revoke(s.accountKeyID)
	assert.Contains(t, probes()["key fcm"], "the key is not listed by Google")

	s.apple.Revoke(s.appleKeyID)
	s.google.Answer(func(w http.ResponseWriter, _ *http.Request) {
		pushtest.FCMError(w, http.StatusForbidden, "PERMISSION_DENIED", "", "")
	})
	all = probes()
	assert.Contains(t, all["apns"], "key, key_id and team_id do not belong together")
	assert.Contains(t, all["fcm"], "the service account may not send")
}
