// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/page"
)

// firefox is a window of Firefox, driven with WebDriver BiDi.
type firefox struct {
	t    *testing.T
	conn *websocket.Conn
	id   int
	tab  string

	complaints []string // the errors in the console until now
}

// startFirefox starts Debian's Firefox with a push service of the test. It
// ends with the test.
func startFirefox(t *testing.T, service *pushService) *firefox {
	t.Helper()
	path, err := exec.LookPath("firefox-esr")
	require.NoError(t, err, "run internal/endtoend/browser/install.sh")
	profile := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(profile, "user.js"), []byte(preferences(map[string]any{
		"dom.push.serverURL":                         service.webSocketURL(),
		"dom.push.testing.allowInsecureServerURL":    true,
		"dom.push.connection.enabled":                true, // WebDriver turns it off where nobody says otherwise
		"permissions.default.desktop-notification":   1,    // granted
		"alerts.useSystemBackend":                    false,
		"intl.accept_languages":                      "en",
		"app.update.enabled":                         false,
		"browser.shell.checkDefaultBrowser":          false,
		"datareporting.policy.dataSubmissionEnabled": false,
	})), 0o600))
	cmd := exec.Command(path, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank")
	cmd.Env = append(os.Environ(), "HOME="+profile)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	log, err := os.Create(filepath.Join(profile, "log"))
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its content processes, too
		_ = cmd.Wait()
		_ = log.Close()
	})

	// It writes where it can be reached into its profile.
	var remote struct {
		Host string `json:"ws_host"`
		Port int    `json:"ws_port"`
	}
	require.Eventually(t, func() bool {
		content, err := os.ReadFile(filepath.Join(profile, "WebDriverBiDiServer.json"))
		return err == nil && json.Unmarshal(content, &remote) == nil && remote.Port != 0
	}, waitTimeout, waitTimeout/1000, "Firefox has not started")
	conn, _, err := websocket.Dial(t.Context(), fmt.Sprintf("ws://%s:%d/session", remote.Host, remote.Port), nil)
	require.NoError(t, err)
	conn.SetReadLimit(16 << 20)
	f := &firefox{t: t, conn: conn}
	f.call("session.new", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{"acceptInsecureCerts": true}}}, nil)
	var tree struct{ Contexts []struct{ Context string } }
	f.call("browsingContext.getTree", map[string]any{}, &tree)
	f.tab = tree.Contexts[0].Context
	f.call("session.subscribe", map[string]any{"events": []string{"log.entryAdded"}}, nil)
	f.call("script.addPreloadScript", map[string]any{"functionDeclaration": `() => addEventListener('securitypolicyviolation',
		e => console.error('the policy forbids', e.violatedDirective, e.blockedURI))`}, nil)
	t.Cleanup(func() {
		f.call("session.status", map[string]any{}, nil) // behind all that has been reported
		assert.Empty(t, f.complaints, "in the console")
	})
	return f
}

func preferences(values map[string]any) string {
	var out strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		value, _ := json.Marshal(values[name])
		fmt.Fprintf(&out, "user_pref(%q, %s);\n", name, value)
	}
	return out.String()
}

// call sends a command and waits for its result.
func (f *firefox) call(method string, params map[string]any, result any) {
	f.t.Helper()
	require.NoError(f.t, f.try(method, params, result), method)
}

func (f *firefox) try(method string, params map[string]any, result any) error {
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	f.id++
	if err := wsjson.Write(ctx, f.conn, map[string]any{"id": f.id, "method": method, "params": params}); err != nil {
		return err
	}
	for {
		var answer struct {
			ID             int
			Type           string
			Result         json.RawMessage
			Error, Message string
			Params         struct{ Level, Text string } // of an event in the log
		}
		switch err := wsjson.Read(ctx, f.conn, &answer); {
		case err != nil:
			return err
		case answer.Type == "event" && answer.Params.Level == "error":
			f.complaints = append(f.complaints, answer.Params.Text)
		case answer.ID != f.id: // another event
		case answer.Type == "error":
			return errors.New(answer.Error + ": " + answer.Message)
		case result != nil:
			return json.Unmarshal(answer.Result, result)
		default:
			return nil
		}
	}
}

func (f *firefox) open(url string) {
	f.t.Helper()
	f.call("browsingContext.navigate", map[string]any{"context": f.tab, "url": url, "wait": "complete"}, nil)
}

func (f *firefox) evaluate(expression string) (string, error) {
	var result struct {
		Type             string
		Result           struct{ Value string }
		ExceptionDetails struct{ Text string }
	}
	err := f.try("script.evaluate", map[string]any{
		"expression": expression, "target": map[string]any{"context": f.tab}, "awaitPromise": true,
	}, &result)
	if err == nil && result.Type == "exception" {
		err = errors.New(result.ExceptionDetails.Text)
	}
	return result.Result.Value, err
}

func (f *firefox) perform(kind string, actions ...map[string]any) {
	f.t.Helper()
	f.call("input.performActions", map[string]any{
		"context": f.tab, "actions": []any{map[string]any{"type": kind, "id": kind, "actions": actions}},
	}, nil)
}

func (f *firefox) press(x, y float64) {
	f.t.Helper()
	f.perform("pointer",
		map[string]any{"type": "pointerMove", "x": int(x), "y": int(y)},
		map[string]any{"type": "pointerDown", "button": 0},
		map[string]any{"type": "pointerUp", "button": 0})
}

func (f *firefox) keys(keys string) {
	f.t.Helper()
	var actions []map[string]any
	for _, key := range keys {
		actions = append(actions, map[string]any{"type": "keyDown", "value": string(key)}, map[string]any{"type": "keyUp", "value": string(key)})
	}
	f.perform("key", actions...)
}

// What fails in Firefox makes a test fail, too.
func TestFirefoxConsole(t *testing.T) {
	f := startFirefox(t, startPushService(t))
	p := tab{f, t}
	p.open(startStandIn(t, page.Options{}).site)
	p.awaitVisible("#sign-in")
	for script, complaints := range map[string][]string{
		"setTimeout(() => { throw new Error('uncaught') })": {"uncaught"},
		"fetch('https://example.com/').catch(() => {})":     {"Content-Security-Policy", "the policy forbids"}, // Firefox's and ours
	} {
		p.do(script)
		for _, complaint := range complaints {
			assert.Eventually(t, func() bool {
				p.do("")
				return slices.ContainsFunc(f.complaints, func(text string) bool { return strings.Contains(text, complaint) })
			}, waitTimeout, waitTimeout/1000, "%s: %s", script, complaint)
		}
	}
	f.complaints = nil
}
