// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// deliverBlocks are the deliver blocks of an example.
func deliverBlocks(t *testing.T, example string) string {
	t.Helper()
	blocks := regexp.MustCompile(`(?ms)^\t\tdeliver webhook .*?^\t\t\}\n`).FindAllString(read(t, "examples", example, "Caddyfile"), -1)
	require.NotEmpty(t, blocks)
	return strings.Join(blocks, "")
}

// frontWith starts a Caddy with these deliver blocks.
func frontWith(t *testing.T, deliver string, env ...string) *front {
	t.Helper()
	f := newFront(t, "127.0.0.1:1")
	middleware := regexp.MustCompile(`(?ms)^\t\tdeliver middleware .*?^\t\t\}\n`)
	require.Regexp(t, middleware, f.config)
	f.config = middleware.ReplaceAllLiteralString(f.config, deliver)
	for _, e := range env {
		f.Setenv(e)
	}
	f.start(t)
	return f
}

// notify sends one notification as Dovecot would.
func (f *front) notify(t *testing.T, member map[string]any) {
	t.Helper()
	all := map[string]any{"user": "alice@example.com", "event": "messageNew", "folder": "INBOX", "imap-uidvalidity": 1795452971}
	maps.Copy(all, member)
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(all))
	taken(t, f.http, body.String())
}

// Each example sends what its service takes, whatever the sender of a mail
// wrote.
func TestWebhookExamples(t *testing.T) {
	t.Parallel()
	services := map[string]*service{
		"ntfy":                 startService(t, ntfy("tk_ntfy")),
		"gotify":               startService(t, gotify("gotify-key")),
		"slack":                startService(t, slack("/services/T0/B0/x")),
		"mattermost":           startService(t, mattermost("/hooks/x")),
		"matrix":               startService(t, matrix("matrix-token")),
		"home_assistant":       startService(t, homeAssistantWebhook("/api/webhook/id")),
		"home_assistant_phone": startService(t, homeAssistantService("ha-token")),
		"pushover":             startService(t, pushover("po-token", "alice-key")),
		"apprise":              startService(t, apprise("mail", "alice-example-com")),
		"discord":              startService(t, discord("/api/webhooks/1/dc-token")),
		"teams":                startService(t, teams("/workflows/tm-token")),
		"telegram":             startService(t, telegram("/bottg-token/sendMessage", "123456789")),
		"mqtt":                 startService(t, emqx("mqtt-key", "mqtt-secret")),
	}
	examples := []string{
		"webhook-ntfy", "webhook-gotify", "webhook-slack", "webhook-matrix", "webhook-home-assistant",
		"webhook-pushover", "webhook-apprise", "webhook-discord", "webhook-teams", "webhook-telegram", "webhook-mqtt",
	}
	// The users of those that serve everybody.
	dir := t.TempDir()
	require.NoError(t, writeFile(dir, "pushover", "token po-token\nalice@example.com alice-key\n"))
	require.NoError(t, writeFile(dir, "telegram", "alice@example.com 123456789\n"))
	var blocks string
	for _, example := range examples {
		blocks += deliverBlocks(t, example)
	}
	blocks = strings.NewReplacer(
		"https://ntfy.example.com", services["ntfy"].URL, "https://gotify.example.com", services["gotify"].URL,
		"/etc/caddy/", dir+"/", "https://api.pushover.net", services["pushover"].URL, "http://emqx.internal:18083", services["mqtt"].URL,
		// Apprise and MQTT have all users, and the test three.
		"http://apprise.internal:8000/notify/mail {", services["apprise"].URL+"/notify/mail {\nusers alice@example.com",
		"credentials {env.EMQX_KEY}", "users alice@example.com\ncredentials {env.EMQX_KEY}",
		"https://matrix.example.org", services["matrix"].URL, "http://homeassistant.internal:8123", services["home_assistant_phone"].URL,
	).Replace(blocks)
	f := frontWith(t, blocks,
		"NTFY_TOKEN=tk_ntfy", "GOTIFY_KEY=gotify-key", "MATRIX_TOKEN=matrix-token", "HOME_ASSISTANT_TOKEN=ha-token",
		"SLACK_WEBHOOK_URL="+services["slack"].URL+"/services/T0/B0/x", "MATTERMOST_WEBHOOK_URL="+services["mattermost"].URL+"/hooks/x",
		"HOME_ASSISTANT_WEBHOOK_URL="+services["home_assistant"].URL+"/api/webhook/id",
		"DISCORD_WEBHOOK_URL="+services["discord"].URL+"/api/webhooks/1/dc-token", "TEAMS_WEBHOOK_URL="+services["teams"].URL+"/workflows/tm-token",
		"TELEGRAM_URL="+services["telegram"].URL+"/bottg-token/sendMessage", "EMQX_KEY=mqtt-key", "EMQX_SECRET=mqtt-secret",
	)
	mails := []map[string]any{
		{"from": "Bob <bob@example.net>", "subject": "Hello", "snippet": "Hello Alice", "unseen": 3},
		{}, // neither From nor Subject
		{"from": `"}]{{.User}} <!channel> <https://evil.example|click> @all`, "subject": "\\\" *b* _i_ `c` ~s~ [x](http://evil) ![x](http://evil/p.png) <b> & # @channel 📧"},
		{"from": strings.Repeat("ü", 5000), "subject": strings.Repeat("😀", 5000)},
		{"from": strings.Repeat("<", 5000), "subject": strings.Repeat("*", 5000)},
	}
	for i, m := range mails {
		for _, user := range []string{"Alice@example.com", "support@example.com", "bob@example.com"} {
			m["user"], m["imap-uid"] = user, i+1
			f.notify(t, m)
		}
	}
	for name, s := range services {
		for _, m := range s.wait(t, name, len(mails)) {
			assert.NotContains(t, fmt.Sprint(m), "Hello Alice", name)
		}
	}
	for _, part := range []string{"title", "message"} {
		assert.Contains(t, services["ntfy"].messages[0][part], map[string]string{"title": "Bob", "message": "Hello"}[part])
	}
	metrics, err := f.Metrics()
	require.NoError(t, err)
	assert.NotContains(t, metrics, "caddy_dovecot_push_dead_letters_total{")
	assert.Contains(t, metrics, `caddy_dovecot_push_delivery_failures_total{reason="status_429",target="matrix"} 5`)
	for _, secret := range []string{"Hello", "evil.example", "bob@example.net", "tk_ntfy", "gotify-key", "matrix-token", "ha-token", "/services/T0", "/hooks/x", "po-token", "alice-key", "dc-token", "tm-token", "tg-token", "mqtt-secret"} {
		assert.NotContains(t, f.Log(), secret)
	}
}

// The automation in the README is one for what the example sends.
func TestHomeAssistantAutomation(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindStringSubmatch(read(t, "examples", "webhook-home-assistant", "README.md"))
	require.NotNil(t, block)
	var config struct {
		Automation []struct {
			Triggers []struct {
				Trigger        string
				WebhookID      yaml.Node `yaml:"webhook_id"`
				AllowedMethods []string  `yaml:"allowed_methods"`
			}
			Actions []struct {
				Action string
				Data   map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(block[1]), &config))
	trigger := config.Automation[0].Triggers[0]
	assert.Equal(t, "webhook", trigger.Trigger)
	assert.Equal(t, "!secret", trigger.WebhookID.Tag)
	assert.Equal(t, []string{"POST"}, trigger.AllowedMethods)
	for _, used := range regexp.MustCompile(`trigger\.json\.data\.(\w+)`).FindAllStringSubmatch(fmt.Sprint(config.Automation[0].Actions[0].Data), -1) {
		assert.Contains(t, []string{"user", "folder", "uid", "uidValidity", "event", "unseen"}, used[1])
	}
}

// What every webhook can have, in one: signatures, client certificate,
// internal authority, proxy, filters.
func TestWebhooks(t *testing.T) {
	t.Parallel()
	secret := "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("n"), 32))
	before := "whsec_" + base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("o"), 32))
	verify := func(r *http.Request, body []byte) {
		for _, s := range []string{secret, before} {
			wh, err := standardwebhooks.NewWebhook(s)
			assert.NoError(t, err)
			assert.NoError(t, wh.Verify(body, r.Header))
		}
		assert.Regexp(t, `^t=\d{10},v1=[0-9a-f]{64}$`, r.Header.Get("X-OX-Signature"))
		user, password, _ := r.BasicAuth()
		assert.Equal(t, "hook hook-password", user+" "+password)
	}
	var mu sync.Mutex
	got := make(map[string][]string) // subjects, by path
	receive := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		verify(r, body)
		var payload struct{ Data struct{ Subject string } }
		assert.NoError(t, json.Unmarshal(body, &payload))
		mu.Lock()
		defer mu.Unlock()
		got[r.URL.Path] = append(got[r.URL.Path], payload.Data.Subject)
	}
	count := func(path string) int {
		mu.Lock()
		defer mu.Unlock()
		return len(got[path])
	}

	ca := newAuthority(t)
	certFile, keyFile := ca.issue(t, "caddy")
	clients := x509.NewCertPool()
	clients.AddCert(ca.cert)
	inside := httptest.NewUnstartedServer(http.HandlerFunc(receive))
	inside.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: clients}
	inside.EnableHTTP2 = true
	inside.StartTLS()
	defer inside.Close()
	insideCA := writePEM(t, t.TempDir(), "inside.pem", "CERTIFICATE", inside.Certificate().Raw)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, "hooks.example", r.Host)
		assert.True(t, r.URL.IsAbs(), "this is how proxies are asked")
		receive(w, r)
	}))
	defer proxy.Close()
	hook := "{\nsecret {env.NEW}\nsecret {file." + writeText(t, "before", before) + "}\nsignature_header X-OX-Signature {env.OX}\n" +
		"credentials hook {env.HOOK_PASSWORD}\ncontent full\n"
	f := frontWith(t, "deliver webhook inside {env.INSIDE_URL} "+hook+"ca_file "+insideCA+"\nclient_cert "+certFile+" "+keyFile+"\n}\n"+
		"deliver webhook proxied http://hooks.example/proxied "+hook+"users *@Example.com\nfolders INBOX Work*\n}\n",
		"NEW="+secret, "OX=ox-secret", "HOOK_PASSWORD=hook-password", "INSIDE_URL="+inside.URL+"/t0ken", "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL)
	for i, m := range []map[string]any{
		{"folder": "INBOX"}, {"folder": "Work/2026"}, {"folder": "Sent"}, {"user": "alice@example.org"}, {"user": "ALICE@EXAMPLE.COM", "folder": "inbox"},
	} {
		m["imap-uid"], m["subject"] = i+1, fmt.Sprint("subject ", i)
		f.notify(t, m)
	}
	require.Eventually(t, func() bool { return count("/t0ken") == 5 && count("/proxied") == 3 }, waitTimeout, waitTimeout/1000, f.Log())
	assert.ElementsMatch(t, []string{"subject 0", "subject 1", "subject 4"}, got["/proxied"])
	assert.NotContains(t, f.Log(), "t0ken")
	config, err := http.Get("http://" + f.Admin + "/config/")
	require.NoError(t, err)
	defer config.Body.Close()
	shown, err := io.ReadAll(config.Body)
	require.NoError(t, err)
	for _, s := range []string{"t0ken", "whsec_", "ox-secret", "hook-password"} {
		assert.NotContains(t, string(shown), s)
	}
}

// A webhook that fails says so without its URL, and pauses when it is refused.
func TestWebhookIsRefused(t *testing.T) {
	t.Parallel()
	var status sync.Map
	status.Store("status", http.StatusGone)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		code, _ := status.Load("status")
		w.WriteHeader(code.(int))
	}))
	defer hook.Close()
	f := frontWith(t, "deliver webhook gone {env.GONE_URL}\ndeliver webhook nowhere {env.NOWHERE_URL}\n",
		"GONE_URL="+hook.URL+"/t0ken", "NOWHERE_URL=http://t0ken-host.invalid/t0ken")
	for i := range 4 {
		f.notify(t, map[string]any{"imap-uid": i + 1})
	}
	require.Eventually(t, func() bool {
		return strings.Contains(f.Log(), "the webhook answers 410 Gone") && strings.Contains(f.Log(), "the target is down")
	}, waitTimeout, waitTimeout/1000)
	assert.NotContains(t, f.Log(), "/t0ken")
	status.Store("status", http.StatusOK)
	require.Eventually(t, func() bool {
		metrics, err := f.Metrics()
		return err == nil && strings.Contains(metrics, `caddy_dovecot_push_delivery_attempts_total{outcome="delivered",target="gone"} 4`)
	}, waitTimeout, waitTimeout/1000)
}

func writeText(t *testing.T, name, text string) string {
	t.Helper()
	path := t.TempDir() + "/" + name
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
