// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/page"
	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// scenes bring the page into what people see of it, one after the other.
func (s stage) scenes(show func(name string)) {
	s.tab.t.Helper()
	s.open(s.site)
	s.awaitVisible("#sign-in")
	show("sign-in")
	s.enter(user, "wrong")
	s.awaitVisible("#sign-in-error")
	show("sign-in-wrong")

	s.enter(user, password)
	s.awaitState("off")
	s.awaitText("#stream", "")
	show("off")
	s.do("real = Notification.requestPermission; Notification.requestPermission = async () => 'default'")
	s.click("#device-do")
	s.awaitVisible("#device-problem")
	show("off-problem")
	s.do("Notification.requestPermission = async () => 'denied'")
	s.click("#device-do")
	s.awaitState("denied")
	show("denied")

	s.open(s.site)
	s.awaitState("off")
	s.turnedOn()
	now := time.Now()
	s.with(func() {
		s.config["webmailURL"] = "https://webmail.example.com/"
		s.subscriptions[0].LastDelivery = &subscription.Delivery{Time: now.Add(-5 * time.Minute), Outcome: "delivered"}
		s.subscriptions = append(s.subscriptions,
			&device{ID: "2", Name: "Firefox, Android", EndpointHost: "push.example.org", Confirmed: true, LastDelivery: &subscription.Delivery{Time: now.Add(-5 * time.Hour), Outcome: "delivered"}},
			&device{ID: "3", Name: "Safari, iPhone", EndpointHost: "push.example.net"},
			&device{ID: "4", Name: "Edge, Windows", EndpointHost: "push.example.com", Confirmed: true, LastDelivery: &subscription.Delivery{Time: now.Add(-2 * 24 * time.Hour), Outcome: "gone"}})
	})
	s.open(s.site)
	s.awaitState("on")
	s.awaitStream(beginning)
	for i, m := range []struct {
		age                   time.Duration
		folder, from, subject string
	}{
		{3 * time.Hour, "INBOX", "Mia Winter <mia@example.net>", "Photos from the weekend"},
		{40 * time.Minute, "INBOX", "Town library <service@example.org>", "Two of your books are due on Friday: “The Master and Margarita”, “A Pattern Language”"},
		{6 * time.Minute, "INBOX", `"Jonas Berg" <jonas@example.org>`, "Re: Lunch on Thursday?"},
		{0, "Orders", "shop@example.com", "Your parcel is on its way"},
	} {
		event := newMail(i, m.from, m.subject)
		event.Folder, event.Time = m.folder, now.Add(-m.age)
		s.emit(fmt.Sprint(i), "mail", event)
	}
	s.awaitMails(4)
	show("on")
	s.click("[data-id='2'] .rename")
	s.awaitVisible("[data-id='2'] input")
	show("rename")
	s.keys(keyEscape)
	s.with(func() {
		s.subscriptions[0].Preferences = subscription.Preferences{
			Content: "thin", Urgency: "normal", OnlyFrom: []string{"mia@example.net", "jonas@example.org", "@example.com"},
			QuietHours: &subscription.QuietHours{Start: "22:00", End: "07:00", TimeZone: "Europe/Berlin", Days: []subscription.Day{"mo", "tu", "we", "th", "fr"}},
		}
		s.subscriptions[1].Preferences.MutedUntil = subscription.Forever
	})
	s.open(s.site)
	s.awaitState("on")
	s.awaitMails(4)
	show("preferred")
	s.click(".subscription .prefer")
	s.awaitVisible("#preferences")
	show("preferences")
	s.do(unfold)
	s.click("[name=folders][value=some]")
	s.fill("#not-from", "eve")
	s.click("#preferences-save")
	s.awaitVisible("#not-from-error")
	show("preferences-all")
	s.click("#preferences-cancel")
	s.click("[data-id='2'] .remove")
	s.awaitVisible("#confirm")
	show("remove")
	s.keys(keyEscape)
	s.await("!document.getElementById('confirm').open")

	s.chromium.pretend(iPhone)
	s.open(s.site)
	s.awaitState("install")
	show("install")
	s.chromium.pretend("")
	s.refuse("", "/api/config", 502, 0)
	s.open(s.site)
	s.awaitVisible("#trouble")
	show("trouble")
}

const iPhone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1"

// unfold opens all parts of the sheet with the preferences.
const unfold = "for (const part of document.querySelectorAll('#preferences details')) part.open = true"

// Nothing that is found by axe, on a phone and on a desk, in light and in dark.
func TestAccessibility(t *testing.T) {
	for _, width := range []int64{390, 1280} {
		s := newStage(t, "en")
		s.chromium.look(width, 844, "light")
		s.scenes(func(name string) { s.accessible(name, width) })
	}
}

// accessible runs axe on what is seen now, in light and in dark.
func (s stage) accessible(name string, width int64) {
	t := s.tab.t
	t.Helper()
	axe, err := os.ReadFile(filepath.Join(caddytestkit.Repository(), "internal", "endtoend", "browser", "node_modules", "axe-core", "axe.min.js"))
	require.NoError(t, err, "run internal/endtoend/browser/install.sh")
	for _, scheme := range []string{"light", "dark"} {
		s.chromium.look(width, 844, scheme)
		s.picture(fmt.Sprintf("%s-%d-%s", name, width, scheme))
		s.do("if (!self.axe) {" + string(axe) + "\n}")
		require.Greater(t, eval[int](s.tab, "(self.result = await axe.run()).passes.length"), 10)
		for _, violation := range eval[[]string](s.tab, `result.violations.map(v => v.id + ': ' + v.help + v.nodes.map(n => '\n  ' + n.html + '\n  ' + n.failureSummary).join(''))`) {
			t.Errorf("%s, %d wide, %s: %s", name, width, scheme, violation)
		}
	}
}

// With what an operator may choose: a colour that cannot be read as it is, and
// all links.
func TestOperatorsPage(t *testing.T) {
	s := newStageWith(t, "de", page.Options{
		Name: "Beispielpost", Accent: &page.Color{0xff, 0xd0, 0x40}, Logo: "/push/icons/maskable-192.png",
		HelpURL: "/help", PasswordURL: "/password", PrivacyURL: "/privacy", ImprintURL: "/imprint",
	})
	s.chromium.look(390, 844, "light")
	s.open(s.site)
	s.awaitText("#forgotten", "Passwort vergessen?")
	for i, text := range []string{"Hilfe", "Datenschutz", "Impressum"} {
		s.awaitText(fmt.Sprintf("footer a:nth-child(%d)", i+1), text)
	}
	require.Positive(t, eval[int](s.tab, "document.querySelector('.top img').naturalWidth"))
	s.accessible("operator-sign-in", 390)
	s.enter(user, password)
	s.awaitState("off")
	s.turnedOn()
	s.accessible("operator-on", 390)
}

// What can be pressed or filled in has an outline with a contrast of 3:1 to what
// is around it (WCAG 1.4.11), unless it has a colour of its own or is a text.
func TestOutlines(t *testing.T) {
	s := newStage(t, "en")
	s.chromium.look(390, 844, "light")
	checked := 0
	s.scenes(func(name string) {
		for _, scheme := range []string{"light", "dark"} {
			s.chromium.look(390, 844, scheme)
			weak := eval[[]string](s.tab, `(() => {
				const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
				const luminance = (colour) => {
					canvas.clearRect(0, 0, 1, 1);
					canvas.fillStyle = colour;
					canvas.fillRect(0, 0, 1, 1);
					const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(v => v / 255).map(v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
					return .2126 * r + .7152 * g + .0722 * b;
				};
				const ground = (e) => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (!/, 0\)$/.test(c)) return c; } };
				const contrast = (a, b) => { const [x, y] = [luminance(a), luminance(b)].sort((x, y) => y - x); return (x + .05) / (y + .05); };
				return [...document.querySelectorAll('button:not(.quiet, .inside), input, select, textarea, .day-option span')].filter(e => e.checkVisibility()).map(e => {
					const style = getComputedStyle(e), around = ground(e.parentElement);
					return [e.id || e.className, Math.max(contrast(style.borderTopColor, around), contrast(ground(e), around))];
				}).map(([name, ratio]) => (ratio < 3 ? 'weak ' : '') + name + ' ' + ratio.toFixed(2));
			})()`)
			for _, outline := range weak {
				checked++
				assert.NotContains(t, outline, "weak", "%s, %s", name, scheme)
			}
		}
	})
	assert.Greater(t, checked, 30)
}

// Whatever strangers and users call things, and whichever direction that is
// written in, everything stays in its place, also with text twice as large.
func TestLongNames(t *testing.T) {
	long := func(word string) string { return strings.Repeat(word, 200/utf8.RuneCountInString(word)) }
	for _, name := range []string{long("W"), long("long words "), long("שלום עולם "), long("مرحبا")} {
		for _, zoom := range []string{"100%", "200%"} {
			s := newStage(t, "de")
			s.chromium.look(map[string]int64{"100%": 320, "200%": 640}[zoom], 640, "light")
			s.config["webmailURL"] = "https://webmail.example.com/"
			s.subscriptions = []*device{{ID: "other", Name: name, Confirmed: true, LastDelivery: &subscription.Delivery{Time: time.Now(), Outcome: "misconfigured"}, Preferences: subscription.Preferences{
				Folders: []string{name}, NotFrom: []string{strings.ReplaceAll(name, " ", "") + "@example.org"},
			}}}
			m := newMail(1, name+" <"+name+"@example.org>", name)
			m.Folder = name
			s.history = []string{"event: mail\ndata: " + toJSON(t, m) + "\n\n"}
			s.signedIn()
			s.awaitMails(1)
			s.do("document.documentElement.style.fontSize = '" + zoom + "'; document.querySelector('#user').textContent = " + quote(name))
			width := eval[float64](s.tab, "document.documentElement.clientWidth")
			check := func(what string) {
				t.Helper()
				assert.LessOrEqual(t, eval[float64](s.tab, "document.documentElement.scrollWidth"), width, "%s: %.9s at %s", what, name, zoom)
				outside := eval[[]string](s.tab, `[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && !e.closest('.hidden, svg')).map(
					e => [e.id || e.className || e.tagName, e.getBoundingClientRect()]).filter(([, r]) => r.left < 0 || r.right > document.documentElement.clientWidth + 1).map(([name]) => name)`)
				assert.Empty(t, outside, "%s: %.9s at %s", what, name, zoom)
			}
			check("lists")
			s.picture(fmt.Sprintf("long-%.9s-%s", name, zoom))
			// The line of a mail is one line, its parts beside each other.
			parts := eval[[]float64](s.tab, "['.initial', '.from', '.mail time'].map(e => document.querySelector(e).getBoundingClientRect().left)")
			assert.IsIncreasing(t, parts, "%.9s", name)
			s.click(".remove")
			s.awaitVisible("#confirm")
			check("dialog")
			s.keys(keyEscape)
			s.await("!document.getElementById('confirm').open")
			// In a language that is written from right to left all is the other way.
			s.do("document.documentElement.dir = 'rtl'")
			s.click(".prefer")
			s.do(unfold)
			check("sheet")
			s.picture(fmt.Sprintf("sheet-%.9s-%s", name, zoom))
			s.click("#preferences-cancel")
			check("rtl")
			s.picture(fmt.Sprintf("rtl-%.9s-%s", name, zoom))
			parts = eval[[]float64](s.tab, "['.initial', '.from', '.mail time'].map(e => -document.querySelector(e).getBoundingClientRect().right)")
			assert.IsIncreasing(t, parts, "%.9s", name)
		}
	}
}

// Nothing is too small to touch, or wider than the smallest phone.
func TestSizes(t *testing.T) {
	s := newStage(t, "de") // the longer words
	s.chromium.look(320, 640, "light")
	s.scenes(func(name string) {
		small := eval[[]string](s.tab, `[...document.querySelectorAll('button, a, input, select, textarea, summary')].filter(e => e.checkVisibility()).map(
			e => [e.id || e.className || e.name, (e.closest('.option') ?? e).getBoundingClientRect()]).filter(([, r]) => r.width < 44 || r.height < 44).map(([name, r]) => name + ' ' + r.width + 'x' + r.height)`)
		assert.Empty(t, small, name)
		assert.LessOrEqual(t, eval[int](s.tab, "document.documentElement.scrollWidth"), 320, name)
	})
}

// All can be done with the keyboard, in the order that is seen, and it is
// always seen where one is.
func TestKeyboard(t *testing.T) {
	s := newStage(t, "en")
	s.subscriptions = []*device{other(true, nil)}
	s.open(s.site)
	s.awaitVisible("#sign-in")
	// next presses a key and checks where that leads to.
	next := func(key, selector string) {
		t.Helper()
		s.keys(key)
		s.await(fmt.Sprintf("document.activeElement.matches(%q)", selector))
		assert.NotEqual(t, "none", eval[string](s.tab, "getComputedStyle(document.activeElement).outlineStyle"), selector)
	}
	next(keyTab, "#username")
	s.keys(user)
	next(keyTab, "#password")
	s.keys("wrong")
	next(keyTab, "#reveal")
	next(keyTab, "#sign-in-button")
	s.keys(keyEnter)
	s.awaitVisible("#sign-in-error")
	s.await("document.activeElement.id === 'password'")
	s.keys(password + keyEnter)
	s.awaitState("off")
	assert.Equal(t, "device-title", s.focused())

	next(keyTab, "#device-do")
	s.keys(keyEnter)
	s.awaitState("on")
	s.await("document.activeElement.id === 'device-title'")
	next(keyTab, "#device-test")
	s.keys(keyEnter)
	s.awaitText("#device-note", "arrived")
	s.awaitText("#announcer", "The test has arrived.")
	assert.Equal(t, "device-test", s.focused())
	next(keyTab, "#device-off")
	next(keyTab, "[data-id=other] .prefer")
	next(keyTab, "[data-id=other] .test")
	next(keyTab, "[data-id=other] .rename")
	s.keys(keyEnter)
	s.await("document.activeElement.matches('[data-id=other] input')")
	s.keys("Phone")
	next(keyTab, "[data-id=other] .save")
	s.keys(keyEnter)
	s.awaitText("[data-id=other] .name", "Phone")
	s.await("document.activeElement.matches('[data-id=other] .rename')")
	next(keyTab, "[data-id=other] .remove")
	s.keys(keyEnter)
	s.awaitVisible("#confirm")
	next(keyTab, "#confirm button:not(#confirm-yes)")
	next(keyShiftTab, "#confirm-yes")
	s.keys(keyEnter)
	s.await("document.activeElement.id === 'devices-title'")
	next(keyShiftTab, "#device-off")
	next(keyShiftTab, "#device-test")
	next(keyShiftTab, "#sign-out")
}

// The page speaks the first language of its reader that it knows.
func TestLanguages(t *testing.T) {
	seen := make(map[string]bool)
	for languages, want := range map[string]struct{ lang, heading string }{
		"de-AT,en": {"de", "Anmelden"},
		"sv-SE":    {"en", "Sign in"},
		"sv,de,en": {"de", "Anmelden"},
		"fr-CA,en": {"fr", "Connexion"},
		"es":       {"es", "Iniciar sesión"},
		"nl-BE":    {"nl", "Aanmelden"},
		"it":       {"it", "Accesso"},
		"pl":       {"pl", "Logowanie"},
	} {
		s := newStage(t, languages)
		s.open(s.site)
		s.awaitText("#sign-in-title", want.heading)
		assert.Equal(t, want.lang, eval[string](s.tab, "document.documentElement.lang"), languages)
		title := page.Texts()[want.lang]["name"]
		assert.Equal(t, title, eval[string](s.tab, "document.title"), languages)

		// Its words fit on the smallest phone.
		s.chromium.look(320, 640, "light")
		fits := func() {
			t.Helper()
			assert.LessOrEqual(t, eval[int](s.tab, "document.documentElement.scrollWidth"), 320, languages)
			cut := eval[[]string](s.tab, `[...document.querySelectorAll('button, .button, h2, p, .pill, label, legend, summary, .day-option span')].filter(
				e => e.checkVisibility() && !e.matches('.hidden, .title *') && e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)`)
			assert.Empty(t, cut, languages)
			outside := eval[[]string](s.tab, `[...document.querySelectorAll('.field > *, .beside > *')].filter(
				e => e.checkVisibility() && e.getBoundingClientRect().right > e.parentElement.getBoundingClientRect().right + 1).map(e => e.outerHTML)`)
			assert.Empty(t, outside, languages)
		}
		fits()
		s.with(func() {
			s.config["webmailURL"] = "https://webmail.example.com/"
			s.subscriptions = []*device{other(true, &subscription.Delivery{Time: time.Now().Add(-time.Hour), Outcome: "misconfigured"})}
		})
		s.signedIn()
		s.awaitVisible(".failed .reason")
		assert.Greater(t, eval[float64](s.tab, "document.querySelector('.title').clientWidth"), 110., "%s: whose page this is", languages)
		fits()
		s.picture("language-" + want.lang)
		if seen[want.lang] {
			continue
		}
		seen[want.lang] = true
		s.chromium.look(320, 2400, "light") // all of it
		s.click(".prefer")
		s.do(unfold)
		s.click("#quiet-on")
		s.click("[name=folders][value=some]")
		fits()
		s.picture("language-sheet-" + want.lang)
	}
}

// Whatever the tests do, the policy of the page is not in the way, and nothing
// fails behind a reader's back: each test of the page ends with a look into the
// console. This one shows that it would see something there.
func TestConsole(t *testing.T) {
	s := newStage(t, "en")
	s.chromium.harmless = []string{anything}
	s.open(s.site)
	s.awaitVisible("#sign-in")
	for name, script := range map[string]string{
		"exception": "setTimeout(() => { throw new Error('uncaught') })", "promise": "Promise.reject(new Error('uncaught'))",
		"error": "console.error('uncaught')", "warning": "console.warn('uncaught')",
		"policy": "fetch('https://example.com/').catch(() => {})",
	} {
		before := len(s.chromium.complaints())
		s.do(script + "; await null")
		assert.Eventually(t, func() bool { return len(s.chromium.complaints()) > before }, waitTimeout, waitTimeout/1000, name)
	}
}

// What somebody manages to bring into the page is not run.
func TestPolicyIsEnforced(t *testing.T) {
	s := newStage(t, "en")
	s.chromium.harmless = []string{anything}
	s.open(s.site)
	s.awaitVisible("#sign-in")
	for name, attempt := range map[string]string{
		"a script":        "const e = document.createElement('script'); e.textContent = 'harmed = true'; document.body.append(e)",
		"markup":          "document.body.innerHTML = '<img src=x onerror=\"harmed = true\">'",
		"a style":         "document.body.setAttribute('style', 'color: rgb(255, 0, 0)'); if (getComputedStyle(document.body).color === 'rgb(255, 0, 0)') harmed = true",
		"another server":  "await fetch('https://example.com/').then(() => { harmed = true })",
		"another worker":  "await navigator.serviceWorker.register('/other.js').then(() => { harmed = true })",
		"another frame":   "const e = document.createElement('iframe'); e.src = 'https://example.com/'; e.onload = () => { if (e.contentDocument) harmed = true }; document.body.append(e)",
		"a form's target": "const e = document.createElement('form'); e.action = 'https://example.com/'; document.body.append(e); e.submit()",
	} {
		before := len(s.chromium.complaints())
		_, _ = s.evaluate("(async () => {" + attempt + "\nreturn '';})()")
		assert.Eventually(t, func() bool { return len(s.chromium.complaints()) > before }, waitTimeout, waitTimeout/1000, name)
		assert.False(t, eval[bool](s.tab, "self.harmed"), name)
		assert.Equal(t, s.site, eval[string](s.tab, "location.href"), name)
	}
}
