// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the files in testdata/golden")

// conversation is a call of a sub-command, and what the admin API answers.
type conversation struct {
	args    []string
	answers map[string]string // by what is asked; "" is 204
}

const (
	registeredAlice = `{"user":"alice@example.com","state":"registered","since":"2026-01-02T03:04:05Z","by_hand":"registered","value":"user=alice@example.com","ours":true}`
	unknownBob      = `{"user":"bob@example.com","state":"unknown_user","reason":"unknown_user","error":"Dovecot does not know the user","since":"2026-01-02T03:04:06Z","value":""}`
	sweep           = `{"trigger":"command","started":"2026-01-02T03:04:05Z","ended":"2026-01-02T03:04:07Z","users":1,"done":1,"behind":1,"waiting":0,"failed":0,"found":3,"left_out":{"seen":2}}`
	vapidKeys       = `{"keys":[{"public_key":"BNew","created":"2026-01-02T03:04:05Z","devices":0},{"public_key":"BOld","created":"2025-01-02T03:04:05Z","devices":7}]}`
)

// conversations are of the sub-commands that ask the admin API.
var conversations = map[string]conversation{
	"status": {[]string{"status"}, map[string]string{"GET status": `{
		"version":{"module":"v0.1.0","caddy":"v2.11.9","go":"go1.26.8"},"since":"2026-01-02T03:04:05Z",
		"endpoints":[{"listen":[":8009"],"path":"/preliminary/http-notify/v1/notify"}],"requests":{"accepted":5,"duplicate":1},
		"refused":{"network":2},"queue":{"up":true,"notifications":2,"bytes":1024,"max_bytes":1073741824,
		"durability":"disk","durability_reason":"each write is synced","problems":["server n1 does not sync"],
		"removed":[{"name":"old","waiting":1,"parked":2,"until":"2026-01-03T03:04:05Z"}]},
		"doveadm":[{"endpoint":"imap1:8080","up":true}],"devices":{"confirmed":7,"unconfirmed":1},"streams":3,
		"targets":[{"name":"middleware","up":true,"attempts":{"delivered":4,"refused":1}},{"name":"chat","up":false,"parked":9}]}`}},
	"registrations": {[]string{"registrations", "alice@example.com", "bob@example.com"}, map[string]string{
		"GET registrations?user=alice%40example.com": registeredAlice, "GET registrations?user=bob%40example.com": unknownBob,
	}},
	"registrations-all": {[]string{"registrations", "--all"}, map[string]string{"GET registrations": unknownBob + "\n" + registeredAlice}},
	"register": {[]string{"register", "alice@example.com", "bob@example.com"}, map[string]string{
		"POST registrations": `{"total":2}` + "\n" + `{"registration":` + registeredAlice + "}\n" + `{"registration":` + unknownBob + "}",
	}},
	"unregister": {[]string{"unregister", "alice@example.com"}, map[string]string{
		"POST registrations": `{"total":1}` + "\n" + `{"registration":{"user":"alice@example.com","state":"unregistered"}}`,
	}},
	"catch-up":             {[]string{"catch-up", "alice@example.com"}, map[string]string{"POST catch_up": sweep}},
	"subscriptions-delete": {[]string{"subscriptions", "alice@example.com", "--delete", "A/B"}, map[string]string{"DELETE subscriptions/A%2FB?user=alice%40example.com": ""}},
	"subscriptions": {[]string{"subscriptions", "alice@example.com"}, map[string]string{
		"GET subscriptions?user=alice%40example.com": `{"user":"alice@example.com","subscriptions":[
			{"id":"A","name":"phone","kind":"apns","push_service":"com.example.mail","confirmed":true,"created":"2026-01-02T03:04:05Z","last_delivery":{"time":"2026-01-03T03:04:05Z","outcome":"delivered"},"preferences":["senders","quiet_hours"]},
			{"id":"B","name":"\u001b[2Jbrowser","kind":"webpush","push_service":"push.example.com","created":"2026-01-02T03:04:05Z"}]}`,
	}},
	"dead-letters": {[]string{"dead-letters", "--target", "chat", "--content"}, map[string]string{
		"GET dead_letters?content=true&target=chat": `{"dead_letters":[{"number":17,"id":"ab","target":"chat","reason":"status_400","attempts":1,
			"accepted":"2026-01-02T03:04:05Z","buried":"2026-01-02T03:04:06Z","body":{"user":"alice"}}],"next":18}`,
		"GET dead_letters?content=true&from=18&target=chat": `{"dead_letters":[{"number":18,"id":"cd","target":"chat","reason":"expired","attempts":9,
			"accepted":"2026-01-02T03:04:05Z","buried":"2026-01-03T03:04:06Z","source":"catch_up"}]}`,
	}},
	"dead-letters-delete": {[]string{"dead-letters", "delete", "--all"}, map[string]string{"DELETE dead_letters?all=true": `{"done":50,"failed":0}` + "\n" + `{"done":57,"failed":0}`}},
	"replay": {[]string{"replay", "17", "18"}, map[string]string{
		"POST dead_letters/replay?number=17": `{"done":1,"failed":0}`,
		"POST dead_letters/replay?number=18": `{"done":0,"failed":1,"error":"target is not in use: chat"}`,
	}},
	"targets-drop": {[]string{"targets", "drop", "old"}, map[string]string{"DELETE targets?name=old": ""}},
	"keys": {[]string{"keys"}, map[string]string{"GET keys": `{"keys":[
		{"target":"webpush","id":"BNew","since":"2026-01-02T03:04:05Z"},
		{"target":"apns","id":"ABC123DEFG","since":"2026-01-02T03:04:05Z"},
		{"target":"apps","id":"old","since":"2024-01-02T03:04:05Z","ends":"2025-01-02T03:04:05Z"},
		{"target":"fcm","id":"1a2b3c","error":"Google answers 500\u001b[2J"}]}`}},
	"vapid-show":   {[]string{"vapid", "show"}, map[string]string{"GET vapid": vapidKeys}},
	"vapid-rotate": {[]string{"vapid", "rotate"}, map[string]string{"POST vapid/rotate": vapidKeys}},
	"send-test": {[]string{"send-test", "alice@example.com"}, map[string]string{
		"GET follow?time=30s&user=alice%40example.com": `{"what":"following","targets":["chat"]}` + "\n" +
			`{"what":"stored","id":"another"}` + "\n" + `{"what":"stored","id":"ab","ms":1.25}` + "\n" +
			`{"what":"failed","id":"ab","target":"chat","reason":"timeout"}` + "\n" + `{"what":"delivered","id":"ab","target":"chat","ms":2.5}`,
		"POST test": `{"id":"ab"}`,
	}},
}

// elsewhere are the sub-commands that ask the admin API nothing, or whatever
// the doctor asks, and where they are tested.
var elsewhere = map[string]string{
	"doctor": "internal/doctor, internal/endtoend", "dovecot-config": "internal/dovecotconfig, internal/endtoend",
	"import": "internal/migrate, internal/endtoend", "version": "internal/endtoend",
}

// What people and programs are shown, whatever Caddy answers.
func TestGolden(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	for name, c := range conversations {
		t.Run(name, func(t *testing.T) {
			talk := func(answer http.HandlerFunc, args ...string) string {
				admin := newAdmin(t, answer)
				return admin.talk(append(c.args, args...))
			}
			success := talk(c.answer(t, ""))
			gone := newAdmin(t, func(http.ResponseWriter, *http.Request) {})
			gone.server.Close()
			got := strings.Join([]string{
				"== success", success,
				"== success, --json", talk(c.answer(t, ""), "--json"),
				"== refused", talk(func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusConflict, "it is \x1b[2Jbusy") }),
				"== Caddy is not running", gone.talk(c.args),
				"== Caddy without this route", talk(http.NotFound),
				"== no JSON", talk(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }),
			}, "\n")
			require.Equal(t, success, talk(c.answer(t, `"added_later":{"x":[1]},`)), "what a newer Caddy adds changes nothing")
			require.NotContains(t, got, "\x1b")

			file := filepath.Join("testdata", "golden", name+".txt")
			if *update {
				require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
				require.NoError(t, os.WriteFile(file, []byte(got), 0o600))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err, "go test -run TestGolden -update writes it")
			require.Equal(t, string(want), got)
		})
	}
}

// answer is the admin API of a conversation. added stands in each of its
// answers.
func (c conversation) answer(t *testing.T, added string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		asked := r.Method + " " + strings.TrimPrefix(r.URL.RequestURI(), "/dovecot_push/")
		answer, ok := c.answers[asked]
		if !assert.True(t, ok, "asked for %s", asked) {
			http.NotFound(w, r)
			return
		}
		if answer == "" {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		_, _ = io.WriteString(w, lineStart.ReplaceAllString(answer, `{`+added))
	}
}

// lineStart is where an answer begins, or one of several.
var lineStart = regexp.MustCompile(`(?m)^\{`)

// took is how long register and unregister took.
var took = regexp.MustCompile(`( users in )[0-9.hmsµ]+,`)

// begins is when a step of send-test happened, after its beginning.
var begins = regexp.MustCompile(`(?m)^ *-?[0-9.hms]+(  [a-z]+ +(stored|failed|delivered))`)

// talk runs a sub-command, and returns what it asked, what it printed and how
// it ended.
func (a *admin) talk(args []string) string {
	out, err := a.run(args...)
	text := "asked: " + strings.Join(a.asked, ", ") + "\n" + out
	if err != nil {
		text += fmt.Sprintf("error: %v\n", err)
	}
	text = strings.ReplaceAll(text, a.server.Listener.Addr().String(), "ADDRESS")
	return begins.ReplaceAllString(took.ReplaceAllString(text, "${1}TIME,"), "    TIME$1")
}

// No sub-command is left out.
func TestEachCommandIsTested(t *testing.T) {
	tested := make(map[string]bool)
	for _, c := range conversations {
		tested[c.args[0]] = true
	}
	root := &cobra.Command{}
	build(root)
	for _, sub := range root.Commands() {
		_, isElsewhere := elsewhere[sub.Name()]
		assert.True(t, tested[sub.Name()] != isElsewhere, "%s: add a conversation", sub.Name())
		assert.NotEmpty(t, sub.Short, sub.Name())
		assert.NotEmpty(t, sub.Example, sub.Name())
	}
}
