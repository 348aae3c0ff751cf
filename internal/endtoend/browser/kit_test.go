// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"fmt"
	"testing"

	"github.com/chromedp/cdproto/browser"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/page"
)

// stage is the page on the stand-in in Chromium.
type stage struct {
	tab
	*standIn
	chromium *chromium
}

// newStage starts both. Pushes arrive as long as the browser has a service
// worker; the site may show notifications.
func newStage(t *testing.T, language string, flags ...string) stage {
	t.Helper()
	return newStageWith(t, language, page.Options{}, flags...)
}

func newStageWith(t *testing.T, language string, options page.Options, flags ...string) stage {
	t.Helper()
	s := startStandIn(t, options)
	c := startChromium(t, language, flags...)
	c.inject(fmt.Sprintf(pushManager, "https://push.example.net/"))
	c.permit(s.site, browser.PermissionSettingGranted)
	s.push = func(_ *device, payload string) { c.deliver(s.site, payload) }
	return stage{tab: tab{window: c, t: t}, standIn: s, chromium: c}
}

// signedIn opens the page and signs in.
func (s stage) signedIn() {
	s.tab.t.Helper()
	s.open(s.site)
	s.enter(user, password)
	s.await("!['', 'starting'].includes(document.getElementById('device').dataset.state ?? '')")
}

// turnedOn turns notifications on, from the page of somebody signed in.
func (s stage) turnedOn() {
	s.tab.t.Helper()
	s.click("#device-do")
	s.awaitState("on")
}

// awaitState waits for a state of the device (see js/device.js).
func (p tab) awaitState(state string) {
	p.t.Helper()
	p.await(fmt.Sprintf("document.getElementById('device').dataset.state === %q", state))
}
