// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// secrets are what the documents take from the environment.
var secrets = []string{
	"NOTIFY_PASSWORD=try-it", "NOTIFY_PASSWORD_BEFORE=before", "OX_LOGIN=login", "OX_PASSWORD=secret",
	"IMAP_MASTER_USER=boss", "IMAP_MASTER_PASSWORD=secret", "NATS_USER=nats", "NATS_PASSWORD=secret", "PUSH_PASSWORD=secret", "DOVEADM_API_SECRET=secret",
	"WEBHOOK_SECRET=whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=", "CHAT_URL=https://chat.example/hook",
	"NTFY_TOKEN=tk_x", "GOTIFY_KEY=x", "MATRIX_TOKEN=x", "HOME_ASSISTANT_TOKEN=x",
	"SLACK_WEBHOOK_URL=https://hooks.slack.com/services/T0/B0/x", "MATTERMOST_WEBHOOK_URL=https://mattermost.example/hooks/x",
	"HOME_ASSISTANT_WEBHOOK_URL=http://homeassistant.internal:8123/api/webhook/x",
	"DISCORD_WEBHOOK_URL=https://discord.com/api/webhooks/1/x", "TEAMS_WEBHOOK_URL=https://teams.example/workflows/x",
	"TELEGRAM_URL=https://api.telegram.org/botx/sendMessage", "EMQX_KEY=x", "EMQX_SECRET=x",
}

// doveadmProperties is what a document takes from Open-Xchange.
const doveadmProperties = `com.openexchange.dovecot.doveadm.enabled=true
com.openexchange.dovecot.doveadm.endpoints=http://imap1:8080/doveadm/v1, http://imap2:8080/doveadm/v1
com.openexchange.dovecot.doveadm.apiSecret=secret
`

func read(t *testing.T, path ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(append([]string{caddytestkit.Repository()}, path...)...))
	require.NoError(t, err)
	return string(content)
}

// Every Caddyfile in the documents is one that Caddy takes.
func TestCaddyfilesOfTheDocuments(t *testing.T) {
	t.Parallel()
	block := regexp.MustCompile("(?s)```caddyfile\n(.*?)```")
	found := 0
	appleKey, _, err := pushtest.StartAPNs(t).NewKey()
	require.NoError(t, err)
	serviceAccount, _, err := pushtest.StartFCM(t).NewAccount()
	require.NoError(t, err)
	check := func(name, caddyfile string) {
		found++
		t.Run(name, func(t *testing.T) {
			c := caddytestkit.New(t, append(secrets, "NATS_CA_FILE="+newAuthority(t).file)...)
			require.NoError(t, writeFile(c.Dir, "doveadm.properties", doveadmProperties))
			require.NoError(t, writeFile(c.Dir, "notify-password", "secret\n"))
			require.NoError(t, writeFile(c.Dir, "doveadm-secret", "secret\n"))
			require.NoError(t, writeFile(c.Dir, "pushover", "token x\n"))
			require.NoError(t, writeFile(c.Dir, "AuthKey_ABC123DEFG.p8", string(appleKey)))
			require.NoError(t, writeFile(c.Dir, "firebase.json", string(serviceAccount)))
			require.NoError(t, writeFile(c.Dir, "telegram", "alice@example.com 1\n"))
			require.NoError(t, writeFile(c.Dir, "gotify", "alice@example.com x\n"))
			caddyfile = strings.NewReplacer("/opt/open-xchange/etc/", c.Dir+"/", "/etc/caddy/", c.Dir+"/").Replace(caddyfile)
			require.NoError(t, writeFile(c.Dir, "Caddyfile", caddyfile))
			out, err := c.Command("validate", "--config", filepath.Join(c.Dir, "Caddyfile"), "--adapter", "caddyfile")
			assert.NoError(t, err, out)
		})
	}
	pages, err := filepath.Glob(filepath.Join(caddytestkit.Repository(), "*", "*.md"))
	require.NoError(t, err)
	deeper, err := filepath.Glob(filepath.Join(caddytestkit.Repository(), "examples", "*", "*.md"))
	require.NoError(t, err)
	servers, err := filepath.Glob(filepath.Join(caddytestkit.Repository(), "docs", "on", "*.md"))
	require.NoError(t, err)
	for _, page := range slices.Concat(pages, deeper, servers, []string{filepath.Join(caddytestkit.Repository(), "README.md")}) {
		name, err := filepath.Rel(caddytestkit.Repository(), page)
		require.NoError(t, err)
		if name == filepath.Join("examples", "own-target", "README.md") {
			continue // it is for another Caddy, that of TestTargetsOfAnotherModule
		}
		for _, m := range block.FindAllStringSubmatch(read(t, name), -1) {
			caddyfile := m[1]
			if strings.Contains(caddyfile, "dovecot_push_notify") && !strings.HasPrefix(caddyfile, "{") {
				caddyfile = "{\n\tdovecot_push\n}\n" + caddyfile // the page explains the two parts one by one
			}
			check(name, caddyfile)
		}
	}
	check("Caddyfile.example", read(t, "Caddyfile.example"))
	examples, err := filepath.Glob(filepath.Join(caddytestkit.Repository(), "examples", "*", "Caddyfile"))
	require.NoError(t, err)
	for _, example := range examples {
		name, err := filepath.Rel(caddytestkit.Repository(), example)
		require.NoError(t, err)
		check(name, read(t, name))
	}
	assert.GreaterOrEqual(t, found, 6)
}

// What "make run" starts does what the README says about it, with the very
// curl call that stands there.
func TestTryIt(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("there is no curl")
	}
	example := read(t, "Caddyfile.example")
	var pairs []string
	for _, port := range []string{"8009", "8008", "8010"} {
		pairs = append(pairs, ":"+port, strings.TrimPrefix(freeAddress(t), "127.0.0.1"))
	}
	ports := strings.NewReplacer(pairs...)
	c := caddytestkit.Start(t, ports.Replace(example), "NOTIFY_PASSWORD=try-it")
	awaitCertificate(t, ports.Replace("localhost:8009"))

	call := regexp.MustCompile(`(?s)\ncurl -i --cacert.*?/notify\n`).FindString(read(t, "README.md"))
	require.NotEmpty(t, call)
	call = ports.Replace(call)
	call = strings.Replace(call, "run/caddy/pki/authorities/local/root.crt", c.RootCA(), 1)
	curl := func(call string) string {
		out, err := exec.Command("sh", "-c", call).CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	out := curl(call)
	assert.Contains(t, out, " 200 ")
	assert.Contains(t, out, `{"success":true}`)
	assert.Eventually(t, func() bool { return strings.Contains(c.Log(), `"accepted":1`) }, waitTimeout, waitTimeout/1000)

	assert.Contains(t, curl(strings.Replace(call, "dovecot:try-it", "dovecot:wrong", 1)), " 401 ")
	out = curl(strings.Replace(call, `"imap-uid":1,`, "", 1))
	assert.Contains(t, out, " 400 ")
	assert.Contains(t, out, "imap-uid")
	out = curl(strings.Replace(call, "/v1/notify\n", "/v1/notfy\n", 1))
	assert.Contains(t, out, " 404 ")
	metrics, err := c.Metrics()
	require.NoError(t, err)
	assert.Contains(t, metrics, `caddy_dovecot_push_notify_requests_total{result="accepted"} 1`)
}

// The modules build with xcaddy, as xcaddy.md says.
func TestXcaddy(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("building takes a while")
	}
	binary := filepath.Join(t.TempDir(), "caddy")
	build := exec.Command("go", "run", "github.com/caddyserver/xcaddy/cmd/xcaddy@v0.4.5",
		"build", "v2.11.9", "--output", binary, "--with", "github.com/dovecotpush/caddy-dovecot-push=.")
	build.Dir = caddytestkit.Repository()
	build.Env = append(os.Environ(), "GOFLAGS=", "GOPROXY="+proxyWithoutThisModule(t))
	out, err := build.CombinedOutput()
	require.NoError(t, err, "%s", out)
	out, err = exec.Command(binary, "list-modules").CombinedOutput()
	require.NoError(t, err, "%s", out)
	list := read(t, "xcaddy.md")
	list = list[strings.Index(list, "dovecot_push\n"):]
	for id := range strings.FieldsSeq(list[:strings.Index(list, "```")]) {
		assert.Contains(t, strings.Fields(string(out)), id)
	}
}

// A hash works as well as a plain password, and a wrong password does not.
func TestHashedPassword(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	for _, algorithm := range []string{"bcrypt", "argon2id"} {
		t.Run(algorithm, func(t *testing.T) {
			f := newFront(t, ox.addr)
			args := []string{"hash-password", "--algorithm", algorithm, "--plaintext", notifyPassword}
			if algorithm == "bcrypt" {
				args = append(args, "--bcrypt-cost", "5")
			}
			hash, err := f.Command(args...)
			require.NoError(t, err, hash)
			lines := strings.Split(strings.TrimSpace(hash), "\n")
			f.config = strings.Replace(f.config, "{env.NOTIFY_PASSWORD}", lines[len(lines)-1], 1)
			f.start(t)
			taken(t, f.http, notification(1))
			r, err := http.NewRequest(http.MethodPut, "http://"+f.http+notifyPath, strings.NewReader(notification(2)))
			require.NoError(t, err)
			r.SetBasicAuth(notifyUser, "wrong")
			resp, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			resp.Body.Close()
			assert.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		})
	}
}

// proxyWithoutThisModule is the module proxy of the environment and, for what it
// does not have, one that knows no version of this module: Go asks for them
// even where the module is replaced by a directory.
func proxyWithoutThisModule(t *testing.T) string {
	t.Helper()
	proxy, err := exec.Command("go", "env", "GOPROXY").Output()
	require.NoError(t, err)
	dir := t.TempDir()
	versions := filepath.Join(dir, "github.com", "dovecotpush", "caddy-dovecot-push", "@v")
	require.NoError(t, os.MkdirAll(versions, 0o755))
	require.NoError(t, writeFile(versions, "list", ""))
	return strings.TrimSuffix(strings.TrimSpace(string(proxy)), ",direct") + "|file://" + dir
}

func readAll(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}
