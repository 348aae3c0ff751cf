// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// service stands in for one that webhooks are sent to. It takes what the
// documentation of its API allows, and nothing else.
type service struct {
	*httptest.Server
	mu       sync.Mutex
	messages []map[string]any // that it took
	headers  []http.Header
	refused  []string // why it did not
}

// rule is the API of a service: it judges a request, and gives the answer to
// one that is right.
type rule func(r *http.Request, message map[string]any) (answer string, err error)

func startService(t testing.TB, judge rule) *service {
	t.Helper()
	s := new(service)
	s.Server = httptest.NewServer(s.handler(judge))
	t.Cleanup(s.Close)
	return s
}

func (s *service) handler(judge rule) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		message, err := readMessage(r)
		var answer string
		if err == nil {
			answer, err = judge(r, message)
		}
		var later laterError
		switch {
		case errors.As(err, &later):
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)
		case err != nil:
			s.refused = append(s.refused, err.Error())
			http.Error(w, err.Error(), http.StatusBadRequest)
		default:
			s.messages = append(s.messages, message)
			s.headers = append(s.headers, r.Header)
			_, _ = io.WriteString(w, answer)
		}
	})
}

// laterError is how a rule asks for patience.
type laterError struct{ error }

func readMessage(r *http.Request) (map[string]any, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	switch {
	case err != nil:
		return nil, err
	case r.Header.Get("Content-Type") != "application/json":
		return nil, fmt.Errorf("Content-Type %q", r.Header.Get("Content-Type"))
	case !utf8.Valid(body):
		return nil, errors.New("no UTF-8")
	}
	var message map[string]any
	return message, json.Unmarshal(body, &message)
}

// wait waits until n messages were taken, and returns them.
func (s *service) wait(t testing.TB, name string, n int) []map[string]any {
	t.Helper()
	require.Eventually(t, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.messages)+len(s.refused) >= n
	}, waitTimeout, waitTimeout/1000, "messages at %s", name)
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(t, s.refused, name)
	require.Len(t, s.messages, n, name)
	return slices.Clone(s.messages)
}

// is checks method, path and one header field.
func is(r *http.Request, method, path, field, value string) error {
	switch {
	case r.Method != method:
		return fmt.Errorf("method %s", r.Method)
	case r.URL.EscapedPath() != path || r.URL.RawQuery != "":
		return fmt.Errorf("path %s?%s", r.URL.EscapedPath(), r.URL.RawQuery)
	case field != "" && r.Header.Get(field) != value:
		return fmt.Errorf("%s: %q", field, r.Header.Get(field))
	}
	return nil
}

// text is a member that must be a string of 1 to most bytes, not of white
// space alone.
func text(m map[string]any, name string, most int) error {
	s, ok := m[name].(string)
	if !ok || len(s) > most || strings.TrimSpace(s) == "" {
		return fmt.Errorf("%s: %v", name, m[name])
	}
	return nil
}

// only refuses members that the API does not know.
func only(m map[string]any, names ...string) error {
	for name := range m {
		if !slices.Contains(names, name) {
			return fmt.Errorf("unknown member %s", name)
		}
	}
	return nil
}

func link(v any) error {
	s, _ := v.(string)
	if u, err := url.Parse(s); err != nil || u.Host == "" {
		return fmt.Errorf("no URL: %v", v)
	}
	return nil
}

// https://docs.ntfy.sh/publish/#publish-as-json
func ntfy(token string) rule {
	topics := regexp.MustCompile(`^[-_A-Za-z0-9]{1,64}$`)
	return func(r *http.Request, m map[string]any) (string, error) {
		topic, _ := m["topic"].(string)
		tags, _ := m["tags"].([]any)
		if !topics.MatchString(topic) || len(tags) != 1 || tags[0] != "envelope" {
			return "", fmt.Errorf("topic %v, tags %v", m["topic"], m["tags"])
		}
		return `{"id":"sPs71M8A2T","time":1643935928,"event":"message","topic":"` + topic + `","message":"x"}`, errors.Join(
			is(r, http.MethodPost, "/", "Authorization", "Bearer "+token),
			only(m, "topic", "message", "title", "tags", "priority", "actions", "click", "attach", "markdown", "icon", "filename", "delay", "email", "call"),
			text(m, "message", 4096), text(m, "title", 4096), link(m["click"]),
		)
	}
}

// https://gotify.net/api-docs#/message/createMessage and https://gotify.net/docs/msgextras
func gotify(key string) rule {
	return func(r *http.Request, m map[string]any) (string, error) {
		priority, _ := m["priority"].(float64)
		extras, _ := m["extras"].(map[string]any)
		display, _ := extras["client::display"].(map[string]any)
		shown, _ := extras["client::notification"].(map[string]any)
		click, _ := shown["click"].(map[string]any)
		if priority != float64(int(priority)) || priority < 0 || priority > 10 || display["contentType"] != "text/plain" {
			return "", fmt.Errorf("priority %v, extras %v", m["priority"], m["extras"])
		}
		return `{"id":25,"appid":5,"message":"x","title":"x","priority":5,"date":"2026-11-23T16:16:18Z"}`, errors.Join(
			is(r, http.MethodPost, "/message", "X-Gotify-Key", key), only(m, "title", "message", "priority", "extras"),
			text(m, "message", 1<<16), text(m, "title", 1<<16), link(click["url"]),
		)
	}
}

// https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks and
// https://docs.slack.dev/messaging/formatting-message-text#escaping
func slack(path string) rule {
	return func(r *http.Request, m map[string]any) (string, error) {
		s, _ := m["text"].(string)
		left := strings.NewReplacer("&amp;", "", "&lt;", "", "&gt;", "").Replace(s)
		if strings.ContainsAny(left, "<>&") || m["mrkdwn"] != false {
			return "", fmt.Errorf("text is not escaped: %s, mrkdwn %v", s, m["mrkdwn"])
		}
		return "ok", errors.Join(
			is(r, http.MethodPost, path, "", ""), only(m, "text", "blocks", "attachments", "unfurl_links", "unfurl_media", "mrkdwn"), text(m, "text", 40000),
		)
	}
}

// https://developers.mattermost.com/integrate/webhooks/incoming/
func mattermost(path string) rule {
	reference := regexp.MustCompile("&#[0-9]+;")
	return func(r *http.Request, m map[string]any) (string, error) {
		s, _ := m["text"].(string)
		if strings.ContainsAny(reference.ReplaceAllString(s, ""), "*_~`[]<>!#|@\\") {
			return "", fmt.Errorf("text is not escaped: %s", s)
		}
		return "ok", errors.Join(
			is(r, http.MethodPost, path, "", ""), only(m, "text", "channel", "username", "icon_url", "icon_emoji", "attachments", "type", "props", "priority"),
			text(m, "text", 16383),
		)
	}
}

// https://spec.matrix.org/v1.16/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
//
// The first attempt at each message is put off, as homeservers do.
func matrix(token string) rule {
	var transactions []string
	return func(r *http.Request, m map[string]any) (string, error) {
		_, transaction, _ := strings.Cut(r.URL.EscapedPath(), "/send/m.room.message/")
		if transaction == "" || strings.Contains(transaction, "/") {
			return "", fmt.Errorf("transaction %q", transaction)
		}
		if !slices.Contains(transactions, transaction) {
			transactions = append(transactions, transaction)
			return "", laterError{errors.New("M_LIMIT_EXCEEDED")}
		}
		if mentions, ok := m["m.mentions"].(map[string]any); !ok || len(mentions) > 0 || m["msgtype"] != "m.text" {
			return "", fmt.Errorf("m.mentions %v, msgtype %v", m["m.mentions"], m["msgtype"])
		}
		return `{"event_id":"$YUwRidLecu:example.com"}`, errors.Join(
			is(r, http.MethodPut, "/_matrix/client/v3/rooms/%21mail%3Aexample.org/send/m.room.message/"+transaction, "Authorization", "Bearer "+token),
			only(m, "msgtype", "body", "m.mentions"), text(m, "body", 60000),
		)
	}
}

// https://www.home-assistant.io/docs/automation/trigger/#webhook-trigger: any
// JSON; and this is what our own payload must be.
func homeAssistantWebhook(path string) rule {
	return func(r *http.Request, m map[string]any) (string, error) {
		data, _ := m["data"].(map[string]any)
		if m["type"] != "mail.new" || data["user"] == nil || data["folder"] == nil || data["from"] != nil || data["subject"] != nil {
			return "", fmt.Errorf("payload %v", m)
		}
		return "", errors.Join(is(r, http.MethodPost, path, "", ""), only(m, "type", "timestamp", "data"))
	}
}

// https://developers.home-assistant.io/docs/api/rest/ and
// https://www.home-assistant.io/integrations/notify/
//
// The app on Android shows HTML.
func homeAssistantService(token string) rule {
	return func(r *http.Request, m map[string]any) (string, error) {
		if s := fmt.Sprint(m["title"], m["message"]); strings.ContainsAny(s, "<>") {
			return "", fmt.Errorf("text is not escaped: %s", s)
		}
		return "[]", errors.Join(
			is(r, http.MethodPost, "/api/services/notify/mobile_app_phone", "Authorization", "Bearer "+token),
			only(m, "message", "title", "data", "target"), text(m, "message", 1<<16), text(m, "title", 1<<16),
		)
	}
}

// https://pushover.net/api
func pushover(token, user string) rule {
	return func(r *http.Request, m map[string]any) (string, error) {
		if m["token"] != token || m["user"] != user {
			return "", fmt.Errorf("token %v, user %v", m["token"], m["user"])
		}
		return `{"status":1,"request":"647d2300-702c-4b38-8b2f-d56326ae460b"}`, errors.Join(
			is(r, http.MethodPost, "/1/messages.json", "", ""),
			only(m, "token", "user", "message", "title", "url", "url_title", "priority", "sound", "device", "timestamp", "ttl"),
			characters(m, "message", 1024), characters(m, "title", 250), link(m["url"]),
		)
	}
}

// https://github.com/caronc/apprise-api#api-details
func apprise(key, tag string) rule {
	return func(r *http.Request, m map[string]any) (string, error) {
		if m["tag"] != tag || m["type"] != "info" || m["format"] != "text" {
			return "", fmt.Errorf("tag %v, type %v, format %v", m["tag"], m["type"], m["format"])
		}
		return "", errors.Join(
			is(r, http.MethodPost, "/notify/"+key, "", ""), only(m, "body", "title", "type", "tag", "format"),
			text(m, "body", 1<<15), text(m, "title", 1<<15),
		)
	}
}

// https://docs.discord.com/developers/resources/webhook#execute-webhook and
// https://docs.discord.com/developers/resources/message#embed-object: of an embed,
// the name of the author and the text of the footer are no Markdown.
func discord(path string) rule {
	return func(r *http.Request, m map[string]any) (string, error) {
		embeds, _ := m["embeds"].([]any)
		mentions, _ := m["allowed_mentions"].(map[string]any)
		if len(embeds) != 1 || fmt.Sprint(mentions) != "map[parse:[]]" {
			return "", fmt.Errorf("embeds %v, allowed_mentions %v", m["embeds"], mentions)
		}
		embed, _ := embeds[0].(map[string]any)
		author, _ := embed["author"].(map[string]any)
		footer, _ := embed["footer"].(map[string]any)
		return "", errors.Join(
			is(r, http.MethodPost, path, "", ""), only(m, "content", "username", "avatar_url", "tts", "embeds", "allowed_mentions", "components", "flags", "thread_name"),
			only(embed, "author", "footer"), characters(m, "username", 80), characters(author, "name", 256), characters(footer, "text", 2048),
		)
	}
}

// https://learn.microsoft.com/connectors/teams/#request-body-schema and
// https://adaptivecards.io/explorer/TextRun.html, which is no Markdown.
func teams(path string) rule {
	return func(r *http.Request, m map[string]any) (string, error) {
		attachments, _ := m["attachments"].([]any)
		if m["type"] != "message" || len(attachments) != 1 {
			return "", fmt.Errorf("type %v, attachments %v", m["type"], m["attachments"])
		}
		attachment, _ := attachments[0].(map[string]any)
		card, _ := attachment["content"].(map[string]any)
		body, _ := card["body"].([]any)
		if attachment["contentType"] != "application/vnd.microsoft.card.adaptive" || card["type"] != "AdaptiveCard" || len(body) == 0 {
			return "", fmt.Errorf("attachment %v", attachment)
		}
		for _, part := range body {
			block, _ := part.(map[string]any)
			inlines, _ := block["inlines"].([]any)
			if block["type"] != "RichTextBlock" || len(inlines) != 1 {
				return "", fmt.Errorf("block %v", block)
			}
			run, _ := inlines[0].(map[string]any)
			if err := text(run, "text", 28<<10); err != nil || run["type"] != "TextRun" {
				return "", fmt.Errorf("run %v: %w", run, err)
			}
		}
		return "", is(r, http.MethodPost, path, "", "")
	}
}

// https://core.telegram.org/bots/api#sendmessage
func telegram(path, chat string) rule {
	return func(r *http.Request, m map[string]any) (string, error) {
		if m["chat_id"] != chat {
			return "", fmt.Errorf("chat_id %v", m["chat_id"])
		}
		return `{"ok":true,"result":{"message_id":1}}`, errors.Join(
			is(r, http.MethodPost, path, "", ""), only(m, "chat_id", "text", "link_preview_options", "disable_notification", "protect_content"),
			characters(m, "text", 4096),
		)
	}
}

// https://docs.emqx.com/en/emqx/latest/admin/api-docs.html, POST /publish
func emqx(key, secret string) rule {
	return func(r *http.Request, m map[string]any) (string, error) {
		user, password, _ := r.BasicAuth()
		payload, _ := m["payload"].(string)
		topic, _ := m["topic"].(string)
		if user != key || password != secret || m["qos"] != float64(1) || m["retain"] != false || !json.Valid([]byte(payload)) {
			return "", fmt.Errorf("%s, payload %v, qos %v, retain %v", user, m["payload"], m["qos"], m["retain"])
		}
		if topic != "mail/alice-example-com/new" {
			return "", fmt.Errorf("topic %q", topic)
		}
		return `{"id":"000513AE4A1F25B5F44100000B9D0001"}`, errors.Join(
			is(r, http.MethodPost, "/api/v5/publish", "", ""), only(m, "topic", "payload", "payload_encoding", "qos", "retain", "properties"),
		)
	}
}

// characters is text with at most so many characters.
func characters(m map[string]any, name string, most int) error {
	s, _ := m[name].(string)
	if n := utf8.RuneCountInString(s); n > most {
		return fmt.Errorf("%s: %d characters", name, n)
	}
	return text(m, name, 4*most)
}
