// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"net/http"
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
		`{"f":{{json (markdown .From)}}}`:                            {`{"f":"Bob \\<bob@example\\.net\\>"}`, `{"f":""}`},
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

func TestMarkdown(t *testing.T) {
	for text, want := range map[string]string{
		"":                        "",
		"Grüße, 你好 📧":             `Grüße\, 你好 📧`,
		"**bold** _it_ `code`":    "\\*\\*bold\\*\\* \\_it\\_ \\`code\\`",
		"[x](http://evil)":        `\[x\]\(http\:\/\/evil\)`,
		"![x](http://evil/p.png)": `\!\[x\]\(http\:\/\/evil\/p\.png\)`,
		"<b>":                     `\<b\>`,
		"@all look":               "@\u200ball look",
		"x.@all":                  "x\\.@\u200ball",
		"(@channel)":              "\\(@\u200bchannel\\)",
		"alice@example.com":       `alice@example\.com`,
		`\`:                       `\\`,
		"# one\n1. two":           "\\# one\n1\\. two",
	} {
		assert.Equal(t, want, markdown(text), text)
	}
}
