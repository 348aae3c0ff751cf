// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/targettest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

func TestTemplates(t *testing.T) {
	mail := samples()[0]
	mail.Subject, mail.From = "Hello", "Bob <bob@example.net>"
	mail.User, mail.Time = "alice", time.UnixMilli(1795453000123).UTC()
	unknown := samples()[1]
	for text, want := range map[string][2]string{
		`{"t":{{json .Subject}}}`:                                    {`{"t":"Hello"}`, `{"t":""}`},
		`{"t":{{json (or .Subject "no subject")}}}`:                  {`{"t":"Hello"}`, `{"t":"no subject"}`},
		`{"t":{{json (printf "%.4s" .Subject)}}}`:                    {`{"t":"Hell"}`, `{"t":""}`},
		`{"u":{{json .Unseen}}}`:                                     {`{"u":3}`, `{"u":null}`},
		`{{with .Unseen}}{"u":{{.}}}{{else}}{}{{end}}`:               {`{"u":3}`, `{}`},
		`{"u":{{.UID}},"v":{{.UIDValidity}}}`:                        {`{"u":7,"v":1}`, `{"u":0,"v":0}`},
		`[{{json .Folder}},{{json .Event}},{{json .ID}}]`:            {`["INBOX","messageNew","000102030405060708090a0b0c0d0e0f"]`, `["INBOX","messageNew","000102030405060708090a0b0c0d0e0f"]`},
		`{"f":{{json (mrkdwn .From)}}}`:                              {`{"f":"Bob &lt;bob@example.net&gt;"}`, `{"f":""}`},
		`{"f":{{json (markdown .From)}}}`:                            {`{"f":"Bob &#60;bob&#64;example&#46;net&#62;"}`, `{"f":""}`},
		`{"all":{{json .}}}`:                                         {``, `{"all":{"user":"alice","folder":"INBOX","event":"messageNew"}}`},
		`{"t":{{json (.Time.Format "2006-01-02T15:04:05.000Z07")}}}`: {`{"t":"2026-11-23T16:56:40.123Z"}`, ``},
	} {
		body, err := parseTemplate(text, true)
		require.NoError(t, err, text)
		for i, m := range []*Mail{mail, unknown} {
			got, err := body(m)
			require.NoError(t, err, text)
			assert.True(t, json.Valid(got))
			if want[i] != "" {
				assert.Equal(t, want[i], string(got))
			}
		}
	}
}

// A template that does not write values as JSON is found out when it is loaded,
// and does not let the sender of a mail write JSON in any case.
func TestTemplatesThatMakeNoJSON(t *testing.T) {
	for _, text := range []string{
		`{"text":"{{.Subject}}"}`, `{"text":{{.Subject}}}`, `{"text":"{{html .Subject}}"}`, `{"text":"{{printf "%s" .From}}"}`,
		`{"text":"{{.User}}"}`, `{{if .Subject}}{}{{end}}`, `{"u":{{with .Unseen}}{{.}}{{end}}}`, `{{.Subject}}`, `text`, ` `, `{} {}`,
	} {
		_, err := parseTemplate(text, true)
		assert.ErrorIs(t, err, errNoJSON, text)
		_, err = parseTemplate(text, false)
		assert.NoError(t, err, text)
	}
	// Not found out, but not sent either.
	r := startReceiver(t)
	target := newTarget(t, Config{URL: r.URL, Content: notification.Sender, Template: `{"text":{{if eq .Subject "Secret subject"}}{{.Subject}}{{else}}1{{end}}}`})
	result := target.Deliver(t.Context(), targettest.Record())
	assert.Equal(t, delivery.Refused, result.Outcome)
	assert.Equal(t, "template", result.Reason)
	assert.Empty(t, r.got)
}

// Errors of a template hold nothing of a mail.
func TestTemplateErrors(t *testing.T) {
	for _, text := range []string{
		`{{if eq .Subject "Secret subject"}}{{index .Subject 5000}}{{end}}1`,
		`{{if eq .Subject "Secret subject"}}{{call .Subject}}{{end}}1`,
		`{{if eq .Subject "Secret subject"}}{{slice .Subject 5000}}{{end}}1`,
		`{{if eq .Subject "Secret subject"}}{{template "x"}}{{end}}1`,
		`{{if eq .Subject "Secret subject"}}{{.Subject.X}}{{end}}1`,
		`{{if eq .Subject "Secret subject"}}{{lt .Subject 1}}{{end}}1`,
	} {
		target := newTarget(t, Config{URL: "http://127.0.0.1:1", Content: notification.Sender, Template: text})
		result := target.Deliver(t.Context(), targettest.Record())
		assert.Equal(t, "template", result.Reason, text)
		require.Error(t, result.Err)
		assert.NotContains(t, strings.Replace(result.Err.Error(), `"Secret subject"`, "", 1), "Secret")
	}
	_, err := parseTemplate(`{{.Nope}}`, true)
	require.EqualError(t, err, `template: body:1:2: executing "body" at <.Nope>: can't evaluate field Nope in type *webhook.Mail`)
}

func TestTemplateOfPlainText(t *testing.T) {
	got := deliver(t, Config{
		Header: http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, Content: notification.Sender, Template: "{{.From}}\n{{.Subject}}\n",
	})
	assert.Equal(t, "Bob <bob@secret.example>\nSecret subject\n", string(got.body))
}

// Receivers show text as it is, whatever it is made of: without links, mentions,
// pictures or formatting.
func TestTextIsShownAsItIs(t *testing.T) {
	texts := []string{
		"Re: Lunch at 12:30?", "Grüße, 你好 📧", "**bold** _it_ ~~x~~ `code` ```x```", "[x](http://evil.example)", "![x](http://evil.example/p.png)",
		"[x][1]", "<b>bold</b>", "<alice@example.com>", "Alice <alice@example.com>", "<http://evil.example>", "http://evil.example/ www.evil.example evil.com/x",
		"@all look", "x.@all", "(@channel)", "#tag ~town :smile: :) :-D", `C:\dir \* \`, "# one", "1. two", "- three", "> four", "| a | b |", "===", "---",
		"&lt;b&gt; &amp; &#64;all Q&A", "$x$ $100", "<!-- x -->", "<!channel> <@U024BE7LH> <http://evil.example|bank>", "\"quoted\" 'it' % 100", "^up^ a=b {x} a+b!",
	}
	for c := rune(' '); c < 0x7f; c++ {
		texts = append(texts, fmt.Sprintf("a%cb%cc %c d%c e", c, c, c, c), fmt.Sprintf("%c%c x %c%c", c, c, c, c))
	}
	var escaped []string
	for _, text := range texts {
		escaped = append(escaped, markdown.Replace(text), mrkdwn.Replace(text))
	}
	for i, shown := range render(t, escaped) {
		text := texts[i/2]
		if i%2 == 1 { // Slack reads references before it shows the text; its formatting is turned off beside it
			assert.NotRegexp(t, `<img|s-mention`, shown["slack"], text)
			for _, link := range regexp.MustCompile(`<a href="([^"]*)"[^>]*>([^<]*)</a>`).FindAllStringSubmatch(shown["slack"], -1) {
				assert.Equal(t, link[1], link[2], "a link says where it leads: %s", text)
			}
			continue
		}
		delete(shown, "slack")
		require.Len(t, shown, 4)
		for name, markup := range shown {
			inner := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(markup), "<p>"), "</p>")
			assert.NotContains(t, inner, "<", "%s of %s", name, text)
			assert.Equal(t, strings.TrimSpace(text), strings.TrimSpace(html.UnescapeString(inner)), name)
		}
	}
}

// What programs look for in the text once its Markdown was read is not there.
func TestMarkdownHasNoMentions(t *testing.T) {
	assert.NotRegexp(t, `[@:~<>]|#[^0-9]`, markdown.Replace("@all #tag ~town :smile: <x> http://x"))
}

// render returns the HTML that each of the renderers makes of each text.
func render(t *testing.T, texts []string) (shown []map[string]string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join("renderers", "node_modules", "marked")); err != nil {
		t.Skip("the renderers are not installed: internal/delivery/webhook/renderers/install.sh does that")
	}
	input, err := json.Marshal(texts)
	require.NoError(t, err)
	node := exec.CommandContext(t.Context(), "node", "render.js")
	node.Dir, node.Stdin = "renderers", bytes.NewReader(input)
	out, err := node.Output()
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(out, &shown))
	require.Len(t, shown, len(texts))
	return shown
}
