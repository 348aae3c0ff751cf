// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/json"
	"errors"
	"mime"
	"regexp"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// strayQuote is what [scanner.skipStrayQuote] overlooks.
var strayQuote = regexp.MustCompile(`("(?:[^"\\]|\\.)*"[ \t\r\n]*:[ \t\r\n]*[0-9][-+.0-9Ee]*)"([ \t\r\n]*[,}])`)

// errorTexts is everything an error of Decode may say.
var errorTexts = regexp.MustCompile(`^notification: (` +
	`the event is not one in use|` +
	`(user|folder|imap-uid|imap-uidvalidity|event) is there twice|` +
	`(user|folder|imap-uid) is missing|` +
	`(user must be a string of 1 to 512|folder must be a string of 1 to 1024) bytes of UTF-8 without control characters|` +
	`imap-uid(validity)? must be an integer from 0 to 4294967295|` +
	`not a JSON object: at byte [0-9]+: (` +
	`('\{'|'"'|':'|'(,' or ')?[\]}]'|value|digit|name of a member|hexadecimal digit|nothing more) expected|` +
	`unknown escape in a string|control character in a string|nested too deep)(, but the body ends)?` +
	`)$`)

func FuzzDecode(f *testing.F) {
	for _, request := range fixtures(f) {
		f.Add(request.body)
	}
	f.Add([]byte(small))
	f.Fuzz(func(t *testing.T, body []byte) {
		n, err := everyCharset.Decode(body)
		checkIdentify(t, body, n, err)
		var syntax *SyntaxError
		var field *FieldError
		switch {
		case err == nil:
			checkNotification(t, n)
			checkAgainstJSON(t, n, body)
		case errors.As(err, &syntax):
			require.LessOrEqual(t, syntax.Offset, len(body))
			if syntax.Problem != "nested too deep" {
				require.False(t, json.Valid(body) && isObject(body), "refused: %v", err)
			}
		case errors.As(err, &field), errors.Is(err, ErrUnusedEvent):
			require.True(t, json.Valid(mend(body)) && isObject(body), "accepted")
		default:
			t.Fatal(err)
		}
		if err != nil {
			require.Nil(t, n)
			require.Regexp(t, errorTexts, err.Error())
		}
	})
}

// checkIdentify: what is taken in can be delivered, and the other way round.
func checkIdentify(t *testing.T, body []byte, want *Notification, wantErr error) {
	t.Helper()
	n, err := Identify(body, nil)
	require.Equal(t, wantErr, err)
	if wantErr != nil {
		require.Nil(t, n)
		return
	}
	decides := *want
	decides.From, decides.Subject, decides.Snippet, decides.Unseen = "", "", "", nil
	require.Equal(t, decides, *n)
}

func isObject(body []byte) bool {
	return strings.HasPrefix(strings.TrimLeft(string(body), " \t\r\n"), "{")
}

// mend takes the first quote out that can be Dovecot's stray one, unless body
// is valid without that.
func mend(body []byte) []byte {
	for _, at := range strayQuote.FindAllSubmatchIndex(body, -1) {
		if json.Valid(body) {
			break
		}
		quote := at[4] - 1
		without := append(append([]byte{}, body[:quote]...), body[quote+1:]...)
		if json.Valid(without) {
			return without
		}
	}
	return body
}

func checkNotification(t *testing.T, n *Notification) {
	t.Helper()
	require.Equal(t, MessageNew, n.Event)
	require.NoError(t, username.Valid(n.User))
	require.NotEmpty(t, n.Folder)
	for text, limit := range map[string]int{n.Folder: MaxName, n.From: MaxHeader, n.Subject: MaxHeader, n.Snippet: MaxSnippet} {
		require.LessOrEqual(t, len(text), limit)
		require.True(t, utf8.ValidString(text), "%q", text)
		require.False(t, strings.ContainsFunc(text, unicode.IsControl), "%q", text)
	}
	for _, text := range []string{n.From, n.Subject, n.Snippet} {
		checkLine(t, text)
	}
}

func checkLine(t *testing.T, line string) {
	t.Helper()
	require.LessOrEqual(t, len(line), MaxHeader)
	require.True(t, utf8.ValidString(line), "%q", line)
	require.False(t, strings.ContainsFunc(line, unicode.IsControl), "%q", line)
	require.NotRegexp(t, "[\u202a-\u202e\u2066-\u2069\u2028\u2029]", line)
	require.Equal(t, strings.Join(strings.Fields(line), " "), line, "one line, single spaces")
}

// checkAgainstJSON compares the members that decide with what encoding/json
// sees under the very same names.
func checkAgainstJSON(t *testing.T, n *Notification, body []byte) {
	t.Helper()
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(mend(body), &members))
	var user, folder string
	var uid uint32
	require.NoError(t, json.Unmarshal(members["user"], &user))
	require.NoError(t, json.Unmarshal(members["folder"], &folder))
	require.NoError(t, json.Unmarshal(members["imap-uid"], &uid))
	require.Equal(t, user, n.User)
	require.Equal(t, folder, n.Folder)
	require.Equal(t, uid, n.UID)
	var unseen *uint32
	if json.Unmarshal(members["unseen"], &unseen) == nil && unseen != nil {
		require.Equal(t, unseen, n.Unseen)
	}
	var snippet string
	if json.Unmarshal(members["snippet"], &snippet) == nil && len(snippet) <= maxRaw {
		require.Equal(t, clean([]byte(snippet), MaxSnippet), n.Snippet)
	}
}

func FuzzHeader(f *testing.F) {
	for _, request := range fixtures(f) {
		var members struct{ From, Subject string }
		if json.Unmarshal(request.body, &members) == nil && members.Subject != "" {
			f.Add(members.From)
			f.Add(members.Subject)
		}
	}
	f.Add("=?utf-8?Q?=F0=9F?= =?utf-8?B?jok?= =?gb2312*zh?B?xOM=?= =?x-nope?q?a?=")
	f.Fuzz(func(t *testing.T, raw string) {
		value, err := json.Marshal(raw)
		require.NoError(t, err)
		line := everyCharset.header(value)
		checkLine(t, line)
		checkLine(t, unquoteName(line))
		require.Equal(t, line, clean([]byte(line), MaxHeader), "clean is what clean leaves")

		if utf8.ValidString(raw) && len(raw) < 1000 {
			encoded, err := json.Marshal(mime.BEncoding.Encode("utf-8", "ü"+raw))
			require.NoError(t, err)
			require.Equal(t, clean([]byte("ü"+raw), MaxHeader), everyCharset.header(encoded))
		}
	})
}
