// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/serviceworker"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// chromium is a tab of Chromium.
type chromium struct {
	t   *testing.T
	ctx context.Context

	// harmless are the complaints in the console that a test may cause: by
	// default, that an answer was an error.
	harmless []string

	mu            sync.Mutex
	console       []string
	registrations map[string]serviceworker.RegistrationID // by their scope
}

// processes are the running Chromiums, by how they were started. Tests share
// them: each has a tab and, with the port of its server, an origin of its own.
var processes = make(map[string]context.Context)

func TestMain(m *testing.M) {
	flag.Parse()
	status := m.Run()
	for _, ctx := range processes {
		_ = chromedp.Cancel(ctx)
	}
	os.Exit(status)
}

// process is Debian's Chromium in a language.
func process(t *testing.T, language string, flags ...string) context.Context {
	t.Helper()
	key := strings.Join(append(flags, language), " ")
	if ctx, running := processes[key]; running {
		return ctx
	}
	path, err := exec.LookPath("chromium")
	require.NoError(t, err, "run internal/endtoend/browser/install.sh")
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("accept-lang", language), chromedp.Flag("lang", language),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-quic", true),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.ModifyCmdFunc(func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }),
	)
	for _, f := range flags {
		name, value, ok := strings.Cut(f, "=")
		if ok {
			options = append(options, chromedp.Flag(name, value))
		} else {
			options = append(options, chromedp.Flag(name, true))
		}
	}
	ctx, _ := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, _ = chromedp.NewContext(ctx)
	require.NoError(t, chromedp.Do(ctx))
	processes[key] = ctx
	return ctx
}

// startChromium opens a tab in a Chromium that was started in a language, with
// flags such as name=value. It is closed with the test.
func startChromium(t *testing.T, language string, flags ...string) *chromium {
	t.Helper()
	ctx, _ := chromedp.NewContext(process(t, language, flags...))
	require.NoError(t, chromedp.Do(ctx))
	t.Cleanup(func() { _ = chromedp.Cancel(ctx) })

	c := &chromium{t: t, ctx: ctx, harmless: []string{anyStatus}, registrations: make(map[string]serviceworker.RegistrationID)}
	require.NoError(t, chromedp.Listen(ctx, c.observe))
	_, err := chromedp.Call(ctx, serviceworker.Enable, cdp.Empty{})
	require.NoError(t, err)
	_, err = chromedp.Call(ctx, network.ClearBrowserCookies, cdp.Empty{}) // they are not of an origin, but of a host
	require.NoError(t, err)
	messages := chromedp.Console(ctx)
	go func() {
		for m, err := range messages {
			if err != nil {
				return
			}
			c.mu.Lock()
			c.console = append(c.console, string(m.Type)+": "+m.Text)
			c.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		for _, complaint := range c.complaints() {
			harmless := slices.ContainsFunc(c.harmless, func(part string) bool { return strings.Contains(complaint, part) })
			assert.True(t, harmless, "in the console: %s", complaint)
		}
	})
	return c
}

// What Chromium says of an answer that is an error.
const (
	anyStatus    = "the server responded with a status of"
	unauthorized = anyStatus + " 401"
	anything     = ""
)

func (c *chromium) observe(event any) {
	if event, ok := event.(*serviceworker.EventWorkerRegistrationUpdated); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, r := range event.Registrations {
			c.registrations[r.ScopeURL] = r.RegistrationID
		}
	}
}

// complaints are the errors and warnings in the console, such as those about
// the content security policy, and what fails without being caught.
func (c *chromium) complaints() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var complaints []string
	for _, m := range c.console {
		if !strings.HasPrefix(m, "log:") && !strings.HasPrefix(m, "info:") && !strings.HasPrefix(m, "verbose:") {
			complaints = append(complaints, m)
		}
	}
	return complaints
}

// permit sets whether the site may show notifications.
func (c *chromium) permit(origin string, setting browser.PermissionSetting) {
	c.t.Helper()
	_, err := chromedp.CallBrowser(c.ctx, browser.SetPermission, browser.SetPermissionParams{
		Permission: &browser.PermissionDescriptor{Name: "notifications"}, Setting: setting, Origin: origin,
	})
	require.NoError(c.t, err)
}

// deliver runs the push event of the service worker with a payload, which the
// push service would have brought and the browser decrypted.
func (c *chromium) deliver(site, payload string) {
	c.t.Helper()
	c.mu.Lock()
	id, ok := c.registrations[site]
	c.mu.Unlock()
	require.True(c.t, ok, "%s has no service worker", site)
	_, err := chromedp.Call(c.ctx, serviceworker.DeliverPushMessage, serviceworker.DeliverPushMessageParams{
		Origin: strings.TrimSuffix(site, "/push/"), RegistrationID: id, Data: payload,
	})
	require.NoError(c.t, err)
}

// inject runs a script in each document before the page's own.
func (c *chromium) inject(script string) {
	c.t.Helper()
	_, err := chromedp.Call(c.ctx, cdppage.AddScriptToEvaluateOnNewDocument, cdppage.AddScriptToEvaluateOnNewDocumentParams{Source: script})
	require.NoError(c.t, err)
}

// look sets the size of the window and whether its user likes it dark.
func (c *chromium) look(width, height int64, scheme string) {
	c.t.Helper()
	require.NoError(c.t, chromedp.Do(c.ctx, chromedp.EmulateViewport(width, height, chromedp.EmulateScale(1.5))))
	_, err := chromedp.Call(c.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
	require.NoError(c.t, err)
}

// pretend makes it another browser, as far as its name goes.
func (c *chromium) pretend(agent string) {
	c.t.Helper()
	_, err := chromedp.Call(c.ctx, emulation.SetUserAgentOverride, emulation.SetUserAgentOverrideParams{UserAgent: agent})
	require.NoError(c.t, err)
}

func (c *chromium) open(url string) {
	c.t.Helper()
	require.NoError(c.t, chromedp.Do(c.ctx, chromedp.Navigate(url)))
}

// back goes to the page before, as the button does. A script that leaves its own
// page has no answer to wait for.
func (c *chromium) back() {
	c.t.Helper()
	_, err := c.evaluate("(setTimeout(() => history.back()), '')")
	require.NoError(c.t, err)
}

func (c *chromium) evaluate(expression string) (string, error) {
	ctx, cancel := context.WithTimeout(c.ctx, waitTimeout)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[string](expression, chromedp.EvalAwaitPromise))
}

func (c *chromium) press(x, y float64) {
	c.t.Helper()
	require.NoError(c.t, chromedp.Do(c.ctx, chromedp.MouseClickXY(x, y)))
}

var chromiumKeys = strings.NewReplacer(keyTab, kb.Tab, keyEnter, kb.Enter, keyEscape, kb.Escape)

func (c *chromium) keys(keys string) {
	c.t.Helper()
	if keys == keyShiftTab {
		require.NoError(c.t, chromedp.Do(c.ctx, chromedp.KeyEvent(kb.Tab, chromedp.KeyModifiers(kb.ModifierShift))))
		return
	}
	require.NoError(c.t, chromedp.Do(c.ctx, chromedp.KeyEvent(chromiumKeys.Replace(keys))))
}

// screenshot is the whole page as PNG, or what is seen of it behind a dialog.
func (c *chromium) screenshot() []byte {
	c.t.Helper()
	shoot := chromedp.FullScreenshot(100)
	if eval[bool](tab{c, c.t}, "document.querySelector('dialog[open]') !== null") {
		shoot = chromedp.CaptureScreenshot()
	}
	image, err := chromedp.Run(c.ctx, shoot)
	require.NoError(c.t, err)
	return image
}

func toJSON(t *testing.T, value any) string {
	t.Helper()
	content, err := json.Marshal(value)
	require.NoError(t, err)
	return string(content)
}
