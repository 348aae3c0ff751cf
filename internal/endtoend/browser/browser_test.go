// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package browser shows the page in real browsers: Chromium and Firefox.
package browser

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// waitTimeout is how long anything may take that a test waits for.
const waitTimeout = time.Minute

// window is a window of a real browser.
type window interface {
	// open goes to a URL and waits until it is loaded.
	open(url string)
	// evaluate runs an expression in the page, waits for it if it is a promise,
	// and returns its JSON.
	evaluate(expression string) (string, error)
	// press presses and releases the left button of the mouse there.
	press(x, y float64)
	// keys types; the keys beyond characters are those below.
	keys(keys string)
}

// The keys that tests use beyond characters, as WebDriver has them.
const (
	keyTab      = "\uE004"
	keyEnter    = "\uE007"
	keyEscape   = "\uE00C"
	keyShiftTab = "\uE008"
)

// tab is what a test does with the page in a window.
type tab struct {
	window
	t *testing.T
}

// eval returns the value of an expression.
func eval[T any](p tab, expression string) T {
	p.t.Helper()
	var value T
	result, err := p.evaluate("(async () => JSON.stringify((await (" + expression + ")) ?? null))()")
	require.NoError(p.t, err, expression)
	require.NoError(p.t, json.Unmarshal([]byte(result), &value), "%s: %s", expression, result)
	return value
}

// do runs statements.
func (p tab) do(statements string) {
	p.t.Helper()
	_, err := p.evaluate("(async () => {" + statements + "\nreturn '';})()")
	require.NoError(p.t, err, statements)
}

// await waits until an expression is true.
func (p tab) await(condition string) {
	p.t.Helper()
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(50 * time.Millisecond) {
		result, err := p.evaluate("(async () => JSON.stringify(Boolean(await (" + condition + "))))()")
		if err == nil && result == "true" {
			return
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("not in time: %s (%v)\nthe page:\n%s", condition, err, p.text("body"))
		}
	}
}

// text is what can be read of an element.
func (p tab) text(selector string) string {
	p.t.Helper()
	return eval[string](p, fmt.Sprintf("document.querySelector(%q).innerText", selector))
}

// awaitText waits until an element can be seen and says something.
func (p tab) awaitText(selector, text string) {
	p.t.Helper()
	p.await(fmt.Sprintf("(e => e?.checkVisibility() && e.innerText.includes(%s))(document.querySelector(%q))", quote(text), selector))
}

func (p tab) awaitVisible(selector string) { p.t.Helper(); p.awaitText(selector, "") }

func (p tab) visible(selector string) bool {
	p.t.Helper()
	return eval[bool](p, fmt.Sprintf("document.querySelector(%q)?.checkVisibility() ?? false", selector))
}

// click presses the mouse on an element, once it can be seen and stands still.
func (p tab) click(selector string) {
	p.t.Helper()
	p.awaitVisible(selector)
	place := eval[[2]float64](p, fmt.Sprintf(`(async e => {
		e.scrollIntoView({block: 'center', behavior: 'instant'});
		await new Promise(requestAnimationFrame);
		const r = e.getBoundingClientRect();
		return [r.x + r.width / 2, r.y + r.height / 2];
	})(document.querySelector(%q))`, selector))
	p.press(place[0], place[1])
}

// fill types into an input in place of what is there.
func (p tab) fill(selector, text string) {
	p.t.Helper()
	p.awaitVisible(selector)
	p.do(fmt.Sprintf("const e = document.querySelector(%q); e.focus(); e.value = ''", selector))
	p.keys(text)
}

// focused describes the element that has the focus.
func (p tab) focused() string {
	p.t.Helper()
	return eval[string](p, "document.activeElement.id || document.activeElement.className || document.activeElement.tagName")
}

// notification is one that is shown. Buttons are the titles of its actions, each on a
// line.
type notification struct{ Title, Body, Tag, Lang, Buttons string }

func (p tab) notifications() []notification {
	p.t.Helper()
	return eval[[]notification](p, `navigator.serviceWorker.ready.then(r => r.getNotifications()).then(
		list => list.sort((a, b) => (a.tag < b.tag ? -1 : 1)).map(({title, body, tag, lang, actions}) => ({title, body, tag, lang, buttons: (actions ?? []).map(a => a.title).join('\n')})))`)
}

// notificationsEvery is how often to look at the notifications: to look is to
// throw away those that Chromium is about to show.
const notificationsEvery = 500 * time.Millisecond

// awaitNotification waits until one with this title is shown, and returns it.
func (p tab) awaitNotification(title string) notification {
	p.t.Helper()
	var shown []notification
	for deadline := time.Now().Add(waitTimeout); time.Now().Before(deadline); {
		time.Sleep(notificationsEvery)
		shown = p.notifications()
		for _, n := range shown {
			if n.Title == title {
				return n
			}
		}
	}
	p.t.Fatalf("there is no notification %q, but: %+v", title, shown)
	return notification{}
}

// enter fills in the form and sends it.
func (p tab) enter(user, password string) {
	p.t.Helper()
	p.fill("#username", user)
	p.fill("#password", password)
	p.click("#sign-in-button")
}

func quote(text string) string {
	quoted, _ := json.Marshal(text)
	return strings.ReplaceAll(string(quoted), "\u2028", `\u2028`)
}
