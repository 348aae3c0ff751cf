// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTurnOnAndOff(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.awaitState("off")
	assert.True(t, s.visible("#devices-empty"))
	s.turnedOn()
	assert.Equal(t, "Notifications are on", s.awaitNotification("Notifications are on").Title)
	s.awaitText(".subscription h3", "Chrome, Linux")
	s.awaitText(".subscription .own", "This device")
	s.awaitText(".subscription .delivery", "Nothing delivered yet")

	s.click("#device-test")
	s.awaitText("#device-note", "The test has arrived.")
	s.awaitNotification("It works")

	// It is still on after a while, without anything being done.
	s.with(func() { require.Len(t, s.subscriptions, 1) })
	before := s.subscriptions[0].ID
	s.open(s.site)
	s.awaitState("on")
	s.with(func() { assert.Equal(t, before, s.subscriptions[0].ID) })

	s.click("#device-off")
	s.awaitState("off")
	s.awaitVisible("#devices-empty")
	assert.Equal(t, "device-title", s.focused())
	s.with(func() { assert.Empty(t, s.subscriptions) })
	assert.True(t, eval[bool](s.tab, "localStorage.getItem('test:push') === null"), "the browser is still subscribed")
	s.chromium.harmless = []string{unauthorized} // nobody was signed in at first
}

// What is asked of the server is what RFC 8620 and the Push API call it.
func TestWhatIsSubscribed(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.turnedOn()
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.subscriptions[0]
	assert.Equal(t, "push.example.net", sub.EndpointHost)
	assert.Len(t, sub.p256dh, 87)
	assert.Len(t, sub.auth, 22)
	assert.Len(t, sub.DeviceClientID, 36)
	assert.Equal(t, []string{s.site, "en"}, []string{sub.page, sub.lang})
	assert.True(t, sub.Confirmed)
}

func TestDeviceIsNotAllowed(t *testing.T) {
	s := newStage(t, "en")
	s.chromium.permit(s.site, browser.PermissionSettingDenied)
	s.signedIn()
	s.awaitState("denied")
	s.awaitText("#device-steps", "Click the icon to the left of the address")
	assert.False(t, s.visible("#device-do"))

	// The page notices when that changes, in both directions.
	s.chromium.permit(s.site, browser.PermissionSettingGranted)
	s.awaitState("off")
	s.turnedOn()
	s.chromium.permit(s.site, browser.PermissionSettingDenied)
	s.awaitState("denied")
	s.await("document.querySelectorAll('.subscription').length === 0")
	s.with(func() { assert.Empty(t, s.subscriptions, "it gets nothing any more") })
}

func TestDeviceCannotSubscribe(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	for _, attempt := range []struct{ name, before, after, text string }{
		{"dismissed", "real = Notification.requestPermission; Notification.requestPermission = async () => 'default'", "Notification.requestPermission = real", "did not allow it"},
		{"push service", "testPushServiceIsDown = true", "testPushServiceIsDown = false", "push service of your browser does not answer"},
	} {
		s.do("var real; " + attempt.before + "; globalThis.real = real")
		s.click("#device-do")
		s.awaitText("#device-problem", attempt.text)
		s.awaitState("off")
		assert.Equal(t, "device-do", s.focused(), attempt.name)
		s.do("var real = globalThis.real; " + attempt.after)
	}
	for status, text := range map[int]string{
		http.StatusBadGateway:          "could not reach the push service",
		http.StatusConflict:            "as many devices as this server allows",
		http.StatusInternalServerError: "could not do it",
	} {
		s.refuse(http.MethodPost, "/api/subscriptions", status, 0)
		s.click("#device-do")
		s.awaitText("#device-problem", text)
	}
	s.refuse("", "", 0, 0)
	s.turnedOn()
	assert.False(t, s.visible("#device-problem"))
}

func TestConfirmationIsLate(t *testing.T) {
	s := newStage(t, "en")
	deliver := s.push
	s.push = func(*device, string) {}
	s.signedIn()
	s.click("#device-do")
	s.awaitState("confirming")
	s.awaitText(".subscription .delivery", "Waiting for its first notification")
	assert.True(t, s.visible("#device-progress"))
	s.do("const now = Date.now; globalThis.later = 0; Date.now = () => now() + later")
	s.do("later = 45_000")
	s.awaitText("#device-wait", "For 4") // to 49 seconds
	s.do("later = 61_000")
	s.awaitState("late")
	assert.False(t, s.visible("#device-progress"))
	assert.False(t, s.visible("#device-wait"))

	s.with(func() { s.push = deliver })
	s.click("#device-do")
	s.awaitState("on")
	s.with(func() { assert.Len(t, s.subscriptions, 1) })
}

// A confirmation that arrives while nobody is signed in is handed in later.
func TestConfirmationWaitsForSignIn(t *testing.T) {
	s := newStage(t, "en")
	deliver, held := s.push, make(chan string, 1)
	s.push = func(_ *device, payload string) { held <- payload }
	s.signedIn()
	s.click("#device-do")
	s.awaitState("confirming")
	s.with(func() { clear(s.sessions) })
	s.awaitVisible("#sign-in")
	deliver(nil, <-held)
	s.awaitNotification("One more step")
	s.enter(user, password)
	s.awaitState("on")
	s.with(func() { assert.True(t, s.subscriptions[0].Confirmed) })
}

// A code that is not the newest does no harm.
func TestConfirmationIsObsolete(t *testing.T) {
	s := newStage(t, "en")
	s.push = func(*device, string) {}
	s.signedIn()
	s.click("#device-do")
	s.awaitState("confirming")
	obsolete := map[string]string{"@type": "PushVerification", "pushSubscriptionId": s.subscriptions[0].ID, "verificationCode": "obsolete"}
	s.deliver(obsolete)
	s.awaitNotification("One more step")
	s.do(`const cache = await caches.open('device');
		const url = new URL('device.json', location.href).href;
		const record = await (await cache.match(url)).json();
		if (record.code) throw new Error('it was kept');
		await cache.put(url, new Response(JSON.stringify({...record, code: 'obsolete'})))`)
	s.open(s.site)
	s.awaitState("confirming")
	obsolete["verificationCode"] = s.subscriptions[0].code
	s.deliver(obsolete)
	s.awaitState("on")
}

func TestBrowserCannotNotify(t *testing.T) {
	for state, change := range map[string]struct {
		script, agent, text string
	}{
		"unsupported": {script: "delete window.PushManager", text: "Please use an up-to-date"},
		"install": {
			agent: iPhone,
			text:  "three steps",
		},
	} {
		t.Run(state, func(t *testing.T) {
			s := newStage(t, "en")
			s.subscriptions = []*device{other(true, nil)}
			s.chromium.inject(change.script)
			if change.agent != "" {
				s.chromium.pretend(change.agent)
			}
			s.open(s.site)
			if state == "install" { // what is to be done before signing in
				s.awaitText("#device", change.text)
				assert.False(t, s.visible("#sign-in"))
				s.click("#sign-in-here")
				assert.Equal(t, "username", s.focused())
			}
			s.awaitVisible("#sign-in")
			assert.False(t, s.visible("#sign-in-here"))
			s.enter(user, password)
			s.awaitState(state)
			s.awaitText("#device", change.text)
			s.awaitText(".subscription h3", "Firefox, Android") // it can be looked after from here
			assert.False(t, s.visible("#device-do"))
			s.awaitText("#stream", "Live")
		})
	}
}

// Over plain HTTP there is no push, and the page says so.
func TestInsecureContext(t *testing.T) {
	s := newStage(t, "en", "host-resolver-rules=MAP mail.example.com 127.0.0.1")
	s.chromium.harmless = append(s.chromium.harmless, "Cross-Origin-Opener-Policy header has been ignored")
	site, err := url.Parse(s.site)
	require.NoError(t, err)
	s.with(func() { s.sessions["insecure"] = true })
	site.Host = "mail.example.com:" + site.Port()
	s.open(site.String())
	s.awaitVisible("#sign-in")
	s.do("document.cookie = 'session=insecure; path=/push/'") // a Secure one does not get here
	s.open(site.String())
	s.awaitState("insecure")
	s.awaitText("#device-text", "https://")
}

func TestServerHasNoWebPush(t *testing.T) {
	s := newStage(t, "en")
	s.config["applicationServerKey"], s.config["kinds"] = nil, []string{}
	s.signedIn()
	s.awaitState("unavailable")
	s.awaitText("#stream", "Live")
	assert.False(t, s.visible("#devices-card"))
}

// Where there are apps alone, the page lists and removes them.
func TestServerHasAppsAlone(t *testing.T) {
	s := newStage(t, "en")
	s.config["applicationServerKey"], s.config["kinds"] = nil, []string{"apns", "fcm"}
	s.subscriptions = []*device{{ID: "app", Name: "iPhone", App: "com.example.mail", Confirmed: true}}
	s.signedIn()
	s.awaitState("unavailable")
	s.awaitText(".subscription h3", "iPhone")
	assert.Contains(t, eval[string](s.tab, "document.querySelector('.delivery').title"), "com.example.mail")
	s.click(".remove")
	s.click("#confirm-yes")
	s.awaitText("#devices-empty", "No devices yet")
	s.with(func() { assert.Empty(t, s.subscriptions) })
}

// A server that cannot say what there is leaves everything as it is.
func TestDeviceCannotBeFoundOut(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.turnedOn()
	s.refuse(http.MethodGet, "/api/subscriptions", http.StatusServiceUnavailable, 0)
	s.open(s.site)
	s.awaitState("failed")
	s.refuse("", "", 0, 0)
	s.click("#device-do")
	s.awaitState("on")
}

// The server has a new key: the subscription is made again, the device stays.
func TestServerKeyIsRotated(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.turnedOn()
	before := *s.subscriptions[0]
	s.with(func() {
		s.config["applicationServerKey"] = "BGErG1IqM1vHYEwmfWWCQ38sMwbYgyxv6xp0jdWbkdBwQ4DVCsgnToQxCJQgS4DHK7_BA-oWE__MhCTFBYuKW80"
	})
	s.open(s.site)
	s.awaitState("on")
	s.with(func() {
		require.Len(t, s.subscriptions, 1)
		assert.Equal(t, before.ID, s.subscriptions[0].ID)
		assert.NotEqual(t, before.endpoint, s.subscriptions[0].endpoint)
		assert.NotEqual(t, before.p256dh, s.subscriptions[0].p256dh)
	})
}

// A device that was subscribed by an older page tells its page and language when it
// is opened, and once.
func TestDeviceTellsItsPage(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.turnedOn()
	changes := 0
	s.with(func() {
		s.subscriptions[0].page, s.subscriptions[0].lang = "", ""
		s.refusal = func(r *http.Request) (int, time.Duration) {
			if r.Method == http.MethodPatch {
				changes++
			}
			return 0, 0
		}
	})
	s.do(`const cache = await caches.open('device');
		const url = new URL('device.json', location.href).href;
		const {told, ...record} = await (await cache.match(url)).json();
		await cache.put(url, new Response(JSON.stringify({...record, endpoint: 'as it was called'})))`)
	for range 2 {
		s.open(s.site)
		s.awaitState("on")
		s.with(func() {
			assert.Equal(t, []string{s.site, "en"}, []string{s.subscriptions[0].page, s.subscriptions[0].lang})
			assert.Equal(t, 1, changes)
		})
	}
}

// What the browser has changed while the page was closed is mended when it is opened:
// the device stays in its place.
func TestDeviceIsMended(t *testing.T) {
	for name, happens := range map[string]string{
		"the keys":         "const s = JSON.parse(localStorage['test:push']); s.keys.auth = 'anotherauth'; localStorage['test:push'] = JSON.stringify(s)",
		"the subscription": "localStorage.removeItem('test:push')",
		"what it knew":     "await caches.delete('device')",
		"nearly all":       "await caches.delete('device'); localStorage.removeItem('test:push')",
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, "en")
			s.signedIn()
			s.turnedOn()
			before := *s.subscriptions[0]
			s.do(happens)
			s.open(s.site)
			s.awaitState("on")
			s.with(func() {
				require.Len(t, s.subscriptions, 1)
				assert.Equal(t, before.ID, s.subscriptions[0].ID)
				stored := eval[string](s.tab, "localStorage['test:push']")
				assert.Contains(t, stored, s.subscriptions[0].endpoint)
				assert.Contains(t, stored, s.subscriptions[0].auth)
			})
			s.open(s.site)
			s.awaitState("on")
			assert.False(t, s.visible("#device-problem"))
		})
	}
}

// What cannot be mended without the user is said.
func TestDeviceCannotBeMended(t *testing.T) {
	const ended, forgotten = "Your browser has ended the notifications", "your browser has forgotten this device"
	t.Run("subscribing takes a touch", func(t *testing.T) {
		s := newStage(t, "en")
		s.chromium.inject(`const subscribe = PushManager.prototype.subscribe;
			PushManager.prototype.subscribe = async function (options) {
				if (!navigator.userActivation.isActive) throw new DOMException('', 'NotAllowedError');
				return subscribe.call(this, options);
			}`)
		s.signedIn()
		s.turnedOn()
		s.do("localStorage.removeItem('test:push')")
		s.open(s.site)
		s.awaitState("off")
		s.awaitText("#device-problem", ended)
		s.with(func() { assert.Empty(t, s.subscriptions) })
		s.turnedOn()
		assert.False(t, s.visible("#device-problem"))
	})
	t.Run("permission was withdrawn", func(t *testing.T) {
		s := newStage(t, "en")
		s.signedIn()
		s.turnedOn()
		s.open("about:blank")
		s.chromium.permit(s.site, browser.PermissionSettingDenied)
		s.open(s.site)
		s.awaitState("denied")
		s.with(func() { assert.Empty(t, s.subscriptions) })
		s.open("about:blank")
		s.chromium.permit(s.site, browser.PermissionSettingGranted)
		for range 2 {
			s.open(s.site)
			s.awaitState("off")
			s.awaitText("#device-problem", ended)
		}
		s.turnedOn()
	})
	t.Run("all data was cleared", func(t *testing.T) {
		s := newStage(t, "en")
		s.signedIn()
		s.awaitState("off")
		assert.False(t, s.visible("#device-problem"))
		s.turnedOn()
		s.do("await caches.delete('device'); localStorage.clear()")
		s.open(s.site)
		s.awaitState("off")
		s.awaitText("#device-problem", forgotten)
		s.with(func() { assert.Len(t, s.subscriptions, 1) })
		s.turnedOn()
		s.with(func() { assert.Len(t, s.subscriptions, 2, "the older one is the user's to remove") })
		s.click("#device-off") // not even with one of the same name
		s.awaitState("off")
		s.open(s.site)
		s.awaitState("off")
		assert.False(t, s.visible("#device-problem"))
	})
}

// A browser shows the mail of one user only: the one who is signed in.
func TestBrowserOfSomebodyElse(t *testing.T) {
	s := newStage(t, "en")
	s.signedIn()
	s.turnedOn()
	s.do(`const cache = await caches.open('device');
		const url = new URL('device.json', location.href).href;
		const record = await (await cache.match(url)).json();
		await cache.put(url, new Response(JSON.stringify({...record, user: 'bob@example.com'})))`)
	s.open(s.site)
	s.awaitState("off")
	assert.True(t, eval[bool](s.tab, "localStorage.getItem('test:push') === null"), "the browser is still subscribed for somebody else")
}
