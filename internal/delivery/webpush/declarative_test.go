// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/sealed"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// testTexts are as in the catalogues of the page.
var testTexts = map[string]map[string]string{
	"en": {
		"notification.newMail": "New mail", "notification.inFolder": "{name} in {folder}", "mail.noSubject": "No subject",
		"notification.upToDate": "You are up to date", "notification.test.title": "It works", "notification.test.text": "This is it.",
		"notification.unconfirmed.title": "One more step", "notification.unconfirmed.text": "Open this page.",
	},
	"de": {"notification.newMail": "Neue Mail", "notification.inFolder": "{name} in {folder}", "mail.noSubject": "Kein Betreff", "notification.upToDate": "Alles gelesen"},
}

const testPage = "https://mail.example.com/push/"

// declared is what the parser makes of a message.
type declared struct {
	Title, Body, Lang, Dir, Tag string
	Silent                      bool
	Data                        any
	Navigate                    *url.URL
	Mutable                     bool
	AppBadge                    string
}

// parseDeclarative follows the steps of the "declarative push message parser" of the
// Push API (W3C Editor's Draft), and of "create a notification" of the Notifications
// API those that can fail for the members that it sets. The reason is empty if they
// return a notification.
//
// Members of a wrong type are no failure there, they are ignored; WebKit refuses the
// message. So do the steps marked with WebKit, which also read app_badge, which is no
// longer in the draft.
func parseDeclarative(payload []byte) (d declared, failure string) {
	// "Let message be the result of parsing JSON bytes to an Infra value given
	// bytes. If that throws an exception, then return failure."
	if !utf8.Valid(payload) {
		return d, "not UTF-8"
	}
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber()
	var value any
	if decoder.Decode(&value) != nil || decoder.More() {
		return d, "not JSON"
	}
	// "If message is not a map, then return failure."
	message, ok := value.(map[string]any)
	if !ok {
		return d, "not a map"
	}
	// "If message["web_push"] does not exist or is not 8030, then return failure."
	if message["web_push"] != json.Number("8030") {
		return d, "web_push"
	}
	// "If message["notification"] does not exist [or] is not a map, then return
	// failure."
	input, ok := message["notification"].(map[string]any)
	if !ok {
		return d, "notification"
	}
	// "If notificationInput["title"] does not exist or is not a string, then
	// return failure." WebKit: or is empty.
	if d.Title, ok = input["title"].(string); !ok || d.Title == "" {
		return d, "title"
	}
	// "If notificationInput["navigate"] does not exist or is not a string, then
	// return failure."
	navigate, ok := input["navigate"].(string)
	if !ok {
		return d, "navigate"
	}
	// dir, lang, body, tag and silent, each "if … exists and is a string [a
	// boolean]". WebKit: else failure.
	for name, member := range map[string]*string{"dir": &d.Dir, "lang": &d.Lang, "body": &d.Body, "tag": &d.Tag} {
		if v, exists := input[name]; exists {
			if *member, ok = v.(string); !ok {
				return d, name
			}
		}
	}
	if d.Dir != "" && d.Dir != "auto" && d.Dir != "ltr" && d.Dir != "rtl" {
		return d, "dir"
	}
	if v, exists := input["silent"]; exists {
		if d.Silent, ok = v.(bool); !ok {
			return d, "silent"
		}
	}
	d.Data = input["data"]
	// Create a notification: "If options["silent"] is true and options["vibrate"]
	// exists, then throw a TypeError. If options["renotify"] is true and
	// options["tag"] is the empty string, then throw a TypeError."
	for _, name := range []string{"vibrate", "renotify"} {
		if _, exists := input[name]; exists {
			return d, name
		}
	}
	// "… the result of running the URL parser [of] navigate … If [it] is failure,
	// then return failure." Relative ones are not: they depend on the browser.
	var err error
	if d.Navigate, err = url.Parse(navigate); err != nil || !d.Navigate.IsAbs() || d.Navigate.Host == "" {
		return d, "navigate"
	}
	// "If message["mutable"] exists and is a boolean, then set mutable to it."
	if v, exists := message["mutable"]; exists {
		if d.Mutable, ok = v.(bool); !ok {
			return d, "mutable"
		}
	}
	// WebKit: a number or a string, of 64 bits without sign.
	if v, exists := message["app_badge"]; exists {
		n, ok := v.(json.Number)
		if !ok || strings.Trim(n.String(), "0123456789") != "" {
			return d, "app_badge"
		}
		d.AppBadge = n.String()
	}
	return d, ""
}

// The parser sees what is wrong.
func TestDeclarativeParser(t *testing.T) {
	for payload, failure := range map[string]string{
		`{"web_push":8030,"notification":{"title":"Hello","navigate":"https://example.com/","dir":"ltr"},"mutable":true,"app_badge":3}`: "",
		`{"web_push":8030,"notification":{"title":"Hello","navigate":"https://example.com/"}`:                                           "not JSON",
		`[]`:                                 "not a map",
		`{"notification":{}}`:                "web_push",
		`{"web_push":"8030"}`:                "web_push",
		`{"web_push":8031}`:                  "web_push",
		`{"web_push":8030}`:                  "notification",
		`{"web_push":8030,"notification":1}`: "notification",
		`{"web_push":8030,"notification":{"title":"","navigate":"https://example.com/"}}`:                  "title",
		`{"web_push":8030,"notification":{"title":1,"navigate":"https://example.com/"}}`:                   "title",
		`{"web_push":8030,"notification":{"title":"x"}}`:                                                   "navigate",
		`{"web_push":8030,"notification":{"title":"x","navigate":"/push/"}}`:                               "navigate",
		`{"web_push":8030,"notification":{"title":"x","navigate":"https://example.com/","dir":"up"}}`:      "dir",
		`{"web_push":8030,"notification":{"title":"x","navigate":"https://example.com/","body":1}}`:        "body",
		`{"web_push":8030,"notification":{"title":"x","navigate":"https://example.com/"},"mutable":"yes"}`: "mutable",
		`{"web_push":8030,"notification":{"title":"x","navigate":"https://example.com/"},"app_badge":-1}`:  "app_badge",
		"{\"web_push\":8030,\"notification\":{\"title\":\"\xff\",\"navigate\":\"https://example.com/\"}}":  "not UTF-8",
	} {
		_, got := parseDeclarative([]byte(payload))
		assert.Equal(t, failure, got, payload)
	}
}

// declare returns what a device at a page gets of a mail.
func declaredMail(t testing.TB, d *subscription.Subscription, m notification.Mail) []byte {
	t.Helper()
	var payload []byte
	s := Devices{Texts: testTexts}
	result := s.sendShortened(d, m, func(p []byte) (delivery.Result, bool) {
		payload = p
		return delivery.Result{Outcome: delivery.Delivered}, false
	})
	if payload == nil {
		assert.ErrorIs(t, result.Err, device.ErrTooLong)
	}
	return payload
}

func newMail() notification.Mail {
	return notification.Mail{
		Type: "Mail", ID: "8d5e", Folder: "INBOX", UID: 7, UIDValidity: 1, Event: notification.MessageNew, Unseen: new(uint32(3)),
		From: `"Winter, Mia" <mia@example.net>`, Subject: "Photos", Snippet: "From the weekend", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func newActions() *notification.Actions {
	token := strings.Repeat("t", 22)
	return &notification.Actions{User: "alice@example.com", Device: strings.Repeat("D", 26), Expires: 1795452971, Offer: []notification.Offer{
		{Action: "archive", Token: token}, {Action: "read", Token: token}, {Action: "trash", Token: token},
	}}
}

// What can be done with a mail is for the service worker, however it gets the message.
// The browser itself could only open a page for it. Text is left out before it.
func TestDeclaredActions(t *testing.T) {
	d, m := &subscription.Subscription{Page: testPage, Lang: "en"}, newMail()
	m.Actions = newActions()
	payload := declaredMail(t, d, m)
	var whole map[string]any
	decoder := json.NewDecoder(bytes.NewReader(payload))
	decoder.UseNumber() // as the parser
	require.NoError(t, decoder.Decode(&whole))
	require.NotNil(t, whole["actions"])
	got, failure := parseDeclarative(payload)
	require.Empty(t, failure)
	assert.Equal(t, whole["actions"], got.Data.(map[string]any)["actions"])
	assert.NotContains(t, whole["notification"], "actions")

	for _, c := range []struct {
		folder, snippet int
		kept            []bool
	}{{10, 10, []bool{true, true}}, {10, 1900, []bool{false, true}}, {3700, 1900, []bool{false, false}}} {
		m.Folder, m.Snippet = strings.Repeat("f", c.folder), strings.Repeat("s", c.snippet)
		var read notification.Mail
		require.NoError(t, json.Unmarshal(declaredMail(t, d, m), &read))
		kept := []bool{read.Snippet != "", read.Actions != nil}
		assert.Equal(t, c.kept, kept, c)
	}
}

// The message of a page is declared, and read by older workers as before.
func TestDeclaredMail(t *testing.T) {
	d := &subscription.Subscription{Page: testPage, Lang: "en"}
	payload := declaredMail(t, d, newMail())
	assert.JSONEq(t, `{
		"@type":"Mail","id":"8d5e","folder":"INBOX","uid":7,"uidValidity":1,"event":"messageNew","unseen":3,
		"from":"\"Winter, Mia\" <mia@example.net>","subject":"Photos","snippet":"From the weekend","time":"2026-01-02T03:04:05Z",
		"web_push":8030,"mutable":true,"app_badge":3,
		"notification":{
			"title":"Winter, Mia","body":"Photos\nFrom the weekend","navigate":"https://mail.example.com/push/#folder=INBOX&uid=7",
			"lang":"en","dir":"auto","tag":"mail:INBOX","app_badge":3,"mutable":true,
			"data":{"@type":"Mail","id":"8d5e","folder":"INBOX","uid":7,"uidValidity":1,"event":"messageNew","unseen":3,"time":"2026-01-02T03:04:05Z"}
		}}`, string(payload))
	plain, err := device.EncodeMail(newMail())
	require.NoError(t, err)
	assert.JSONEq(t, string(plain), string(declaredMail(t, &subscription.Subscription{}, newMail())), "it is no page")

	parsed := func(lang string, change func(m *notification.Mail)) declared {
		m := newMail()
		change(&m)
		got, failure := parseDeclarative(declaredMail(t, &subscription.Subscription{Page: testPage, Lang: lang}, m))
		require.Empty(t, failure)
		return got
	}
	got := parsed("de", func(m *notification.Mail) { m.From, m.Subject, m.Snippet = "", "", "" }) // content thin
	assert.Equal(t, []string{"Neue Mail", "", "de"}, []string{got.Title, got.Body, got.Lang})
	got = parsed("xx", func(m *notification.Mail) { m.Folder, m.Subject, m.Snippet = "Lists/Go & C", "", "" })
	assert.Equal(t, []string{"Winter, Mia in Lists/Go & C", "No subject", "en", "mail:Lists/Go & C", ""}, []string{got.Title, got.Body, got.Lang, got.Tag, got.AppBadge})
	place, err := url.ParseQuery(got.Navigate.EscapedFragment())
	require.NoError(t, err)
	assert.Equal(t, url.Values{"folder": {"Lists/Go & C"}, "uid": {"7"}}, place)
	got = parsed("en", func(m *notification.Mail) { m.Event = notification.MessageRead })
	assert.Equal(t, []string{"You are up to date", "", "up-to-date"}, []string{got.Title, got.Body, got.Tag})
	assert.True(t, got.Silent)

	// There is always room for it.
	got = parsed("en", func(m *notification.Mail) { m.Folder = strings.Repeat("f", notification.MaxName) })
	assert.Equal(t, "Winter, Mia", got.Title)
	assert.Equal(t, testPage, got.Navigate.String())
}

// What is about the device itself is declared as well.
func TestDeclaredNotices(t *testing.T) {
	w := newWorld(t)
	w.devices.Texts = testTexts
	phone := w.service.Subscribe(t, w.key.Public())
	at := address(t, phone, w.key)
	at.Page, at.Lang = testPage, "en"
	added, _, err := w.Subscriptions.Add(t.Context(), alice, subscription.Device{Name: "Phone", Address: at})
	require.NoError(t, err)
	require.Equal(t, delivery.Delivered, w.devices.SendCode(t.Context(), &added).Outcome)
	require.Equal(t, delivery.Delivered, w.devices.SendTest(t.Context(), &added).Outcome)
	messages := phone.Wait(2)
	for i, title := range []string{"One more step", "It works"} {
		got, failure := parseDeclarative(messages[i].Plain)
		require.Empty(t, failure)
		assert.Equal(t, title, got.Title)
		assert.Equal(t, testPage, got.Navigate.String())
		// The service worker has the same, whichever way it gets the message.
		var whole map[string]any
		require.NoError(t, json.Unmarshal(messages[i].Plain, &whole))
		for name, value := range got.Data.(map[string]any) {
			assert.Equal(t, value, whole[name], name)
		}
		assert.Contains(t, got.Data, "@type")
	}
}

// Each seed is a hundred mails, as hostile as notifications can be: what they hold is
// bounded and valid UTF-8, and names of folders are as they come.
func FuzzDeclaredMail(f *testing.F) {
	for seed := range uint64(30) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		for range 100 {
			m := randomMail(r)
			d := &subscription.Subscription{Page: testPage + strings.Repeat("p", r.IntN(subscription.MaxPage-len(testPage))), Lang: pick(r, "", "en", "de", "xx")}
			checkDeclared(t, d, m)
		}
	})
}

func checkDeclared(t *testing.T, d *subscription.Subscription, m notification.Mail) {
	t.Helper()
	payload := declaredMail(t, d, m)
	if payload == nil {
		if plain := declaredMail(t, &subscription.Subscription{}, m); plain != nil {
			t.Fatalf("nothing is sent of what was: %s", plain)
		}
		return
	}
	if len(payload) > sealed.MaxPlaintext {
		t.Fatalf("%d bytes", len(payload))
	}
	var read notification.Mail
	if err := json.Unmarshal(payload, &read); err != nil {
		t.Fatal(err)
	}
	// Whole members are left out, in their order.
	want := m
	for _, leaveOut := range []func(){
		func() {}, func() { want.Snippet = "" }, func() { want.From = "" }, func() { want.Subject = "" }, func() { want.Actions = nil },
	} {
		leaveOut()
		if (want.Actions == nil) == (read.Actions == nil) && read.Snippet == want.Snippet && read.From == want.From && read.Subject == want.Subject {
			break
		}
	}
	if !assert.Equal(t, want, read) {
		t.FailNow()
	}
	if _, failure := parseDeclarative(payload); failure != "" {
		if folder, _ := json.Marshal(m.Folder); len(folder) < 3000 { // with escapes
			t.Fatalf("%s: %s", failure, payload)
		}
	}
}

func randomMail(r *rand.Rand) notification.Mail {
	m := newMail()
	m.UID, m.UIDValidity, m.Event = r.Uint32(), r.Uint32(), notification.AllEvents[r.IntN(len(notification.AllEvents))]
	if r.IntN(4) == 0 {
		m.Unseen = nil
	}
	if r.IntN(2) == 0 {
		m.Actions = newActions()
	}
	m.Folder = "INBOX"
	if r.IntN(2) == 0 {
		m.Folder = "F" + randomText(r, notification.MaxName-1, "\x00\x01\n\t")
	}
	m.From, m.Subject, m.Snippet = randomText(r, notification.MaxHeader, ""), randomText(r, notification.MaxHeader, ""), randomText(r, notification.MaxSnippet, "")
	if r.IntN(2) == 0 {
		m.From = randomText(r, 300, "") + " <" + randomText(r, 300, "") + ">"
	}
	return m
}

// randomText is at most so many bytes of UTF-8, and often few.
func randomText(r *rand.Rand, most int, more string) string {
	alphabet := []rune("a bZ09\"\\<>&'{}[]%#?+/:;,.@äß€漢字😀🏳\u200d\u0301\u05d0\u0644\u202e\u2028\ufeff" + more)
	if r.IntN(3) > 0 {
		most = r.IntN(most + 1)
	}
	if r.IntN(2) == 0 {
		most /= 10
	}
	var b strings.Builder
	only := alphabet[r.IntN(len(alphabet))]
	same := r.IntN(4) == 0
	for {
		c := alphabet[r.IntN(len(alphabet))]
		if same {
			c = only
		}
		if b.Len()+utf8.RuneLen(c) > most {
			return b.String()
		}
		b.WriteRune(c)
	}
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }
