// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

func decode(t *testing.T, body string) *Notification {
	t.Helper()
	n, err := new(Decoder).Decode([]byte(body))
	require.NoError(t, err)
	return n
}

func TestDecodeEvent(t *testing.T) {
	for event, used := range map[string]bool{
		`"messageNew"`:                         true,
		`"MessageNew"`:                         true,
		`"MESSAGENEW"`:                         true,
		`"messag\u0065New"`:                    true,
		`"messageRead"`:                        false,
		`"messageNewer"`:                       false,
		`""`:                                   false,
		`null`:                                 false,
		`7`:                                    false,
		`["messageNew"]`:                       false,
		`"` + strings.Repeat("x", 1<<20) + `"`: false,
	} {
		t.Run(fmt.Sprintf("%.20s", event), func(t *testing.T) {
			n, err := new(Decoder).Decode([]byte(strings.Replace(small, `"messageNew"`, event, 1)))
			if !used {
				require.ErrorIs(t, err, ErrUnusedEvent)
				return
			}
			require.NoError(t, err)
			require.Equal(t, MessageNew, n.Event)
		})
	}

	t.Run("is looked at before the fields", func(t *testing.T) {
		_, err := new(Decoder).Decode([]byte(`{"events":[{"name":"MessageNew"}],"imap-uid":"x"}`))
		require.ErrorIs(t, err, ErrUnusedEvent)
	})
}

func TestDecodeFieldErrors(t *testing.T) {
	const (
		name   = "must be a string of 1 to 512 bytes of UTF-8 without control characters"
		folder = "must be a string of 1 to 1024 bytes of UTF-8 without control characters"
		number = "must be an integer from 0 to 4294967295"
	)
	long := strings.Repeat("é", username.Max/2)
	for _, c := range []struct{ old, new, field, problem string }{
		{`"user":"u@example.com",`, ``, "user", "is missing"},
		{`"user":"u@example.com"`, `"user":null`, "user", "is missing"},
		{`"user":"u@example.com"`, `"user":""`, "user", name},
		{`"user":"u@example.com"`, `"user":7`, "user", name},
		{`"user":"u@example.com"`, `"user":["u"]`, "user", name},
		{`"user":"u@example.com"`, `"user":"` + long + `x"`, "user", name},
		{`"user":"u@example.com"`, `"user":"` + strings.Repeat("x", 1<<20) + `"`, "user", name},
		{`"user":"u@example.com"`, `"user":"a\nb"`, "user", name},
		{`"user":"u@example.com"`, `"user":"a` + "\x7f" + `b"`, "user", name},
		{`"user":"u@example.com"`, `"user":"a` + "\xff" + `b"`, "user", name},
		{`"user":"u@example.com"`, `"user":"a\ud800b"`, "user", name},
		{`"user":"u@example.com"`, `"User":"u@example.com"`, "user", "is missing"},
		{`"user":"u@example.com"`, `"user":"a","user":"b"`, "user", "is there twice"},
		{`"user":"u@example.com"`, `"us\u0065r":"a","user":"b"`, "user", "is there twice"},
		{`"folder":"INBOX",`, ``, "folder", "is missing"},
		{`"folder":"INBOX"`, `"folder":""`, "folder", folder},
		{`"folder":"INBOX"`, `"folder":{}`, "folder", folder},
		{`"folder":"INBOX"`, `"folder":"` + long + long + `x"`, "folder", folder},
		{`,"imap-uid":4`, ``, "imap-uid", "is missing"},
		{`"imap-uid":4`, `"imap-uid":null`, "imap-uid", "is missing"},
		{`"imap-uid":4`, `"imap-uid":"4"`, "imap-uid", number},
		{`"imap-uid":4`, `"imap-uid":4.0`, "imap-uid", number},
		{`"imap-uid":4`, `"imap-uid":4e0`, "imap-uid", number},
		{`"imap-uid":4`, `"imap-uid":-4`, "imap-uid", number},
		{`"imap-uid":4`, `"imap-uid":-0`, "imap-uid", number},
		{`"imap-uid":4`, `"imap-uid":4294967296`, "imap-uid", number},
		{`"imap-uid":4`, `"imap-uid":18446744073709551620`, "imap-uid", number},
		{`"imap-uid":4`, `"imap-uid":{"n":4}`, "imap-uid", number},
		{`"imap-uid":4`, `"imap-uid":true`, "imap-uid", number},
		{`"imap-uid":4`, `"imap-uid":4,"imap-uid":4`, "imap-uid", "is there twice"},
		{`"imap-uidvalidity":3`, `"imap-uidvalidity":"3"`, "imap-uidvalidity", number},
		{`"imap-uidvalidity":3`, `"imap-uidvalidity":3,"imap-uidvalidity":3`, "imap-uidvalidity", "is there twice"},
	} {
		t.Run(fmt.Sprintf("%.40s", c.new+" for "+c.old), func(t *testing.T) {
			body := strings.Replace(small, c.old, c.new, 1)
			require.NotEqual(t, small, body)
			n, err := new(Decoder).Decode([]byte(body))
			require.Nil(t, n)
			var field *FieldError
			require.ErrorAs(t, err, &field)
			require.Equal(t, FieldError{Field: c.field, Problem: c.problem}, *field)
			require.EqualError(t, err, "notification: "+c.field+" "+c.problem)
		})
	}
}

func TestDecodeAcceptsFields(t *testing.T) {
	longest := strings.Repeat("é", username.Max/2)
	n := decode(t, strings.Replace(small, "u@example.com", longest, 1))
	require.Equal(t, longest, n.User)

	require.NoError(t, username.Valid(n.User))

	n = decode(t, strings.Replace(small, `"user":"u@example.com"`, `"us\u0065r":"a\u00e9\ud83c\udf89\/b"`, 1))
	require.Equal(t, "aé🎉/b", n.User)

	n = decode(t, strings.Replace(small, `"user":"u@example.com"`, `"USER":"other","user":"u","User":7`, 1))
	require.Equal(t, "u", n.User, "names are taken exactly")

	n = decode(t, strings.Replace(small, `"imap-uid":4`, `"imap-uid":4294967295`, 1))
	require.Equal(t, uint32(4294967295), n.UID)

	n = decode(t, strings.Replace(small, `"imap-uid":4`, `"imap-uid":0`, 1))
	require.Zero(t, n.UID)

	for _, absent := range []string{``, `"imap-uidvalidity":null,`} {
		n = decode(t, strings.Replace(small, `"imap-uidvalidity":3,`, absent, 1))
		require.Zero(t, n.UIDValidity)
	}
}

// What only describes the mail must never cost us the notification of it.
func TestDecodeIgnoresOptionalMembersOfTheWrongType(t *testing.T) {
	for _, value := range []string{`null`, `7`, `-1`, `1e3`, `4294967296`, `true`, `["x"]`, `{"a":{"b":[[]]}}`} {
		body := strings.NewReplacer(`"f"`, value, `"s"`, value, `"t"`, value).Replace(small)
		n := decode(t, body)
		require.Empty(t, n.From)
		require.Empty(t, n.Subject)
		require.Empty(t, n.Snippet)
	}
	for _, value := range []string{`null`, `"5"`, `-1`, `5.0`, `4294967296`, `true`, `[5]`} {
		n := decode(t, strings.Replace(small, `"unseen":5`, `"unseen":`+value, 1))
		require.Nil(t, n.Unseen)
	}
}

func TestDecodeUnseen(t *testing.T) {
	for members, want := range map[string]uint32{
		`"unseen":5`:              5,
		`"unseen":0`:              0,
		`"unread":6`:              6,
		`"unread":6,"unseen":5`:   5,
		`"unseen":"5","unread":6`: 6,
	} {
		n := decode(t, strings.Replace(small, `"unseen":5`, members, 1))
		require.NotNil(t, n.Unseen, members)
		require.Equal(t, want, *n.Unseen, members)
	}
	require.Nil(t, decode(t, strings.Replace(small, `,"unseen":5`, ``, 1)).Unseen)
}

func TestDecodeStrayQuote(t *testing.T) {
	for _, body := range []string{
		`{"user":"u","event":"messageNew","folder":"INBOX","imap-uidvalidity":3,"imap-uid":12","subject":"s","snippet":"t","unseen":5}`,
		`{"user":"u","event":"messageNew","folder":"INBOX","imap-uidvalidity":3,"imap-uid":12","snippet":"t","unseen":5}`,
		`{"user":"u","event":"messageNew","folder":"INBOX","imap-uidvalidity":3,"imap-uid":12","unseen":5}`,
		`{"user":"u","event":"messageNew","folder":"INBOX","imap-uidvalidity":3,"imap-uid":12"}`,
	} {
		n := decode(t, body)
		require.Equal(t, uint32(12), n.UID)
		require.Equal(t, strings.Contains(body, "subject"), n.Subject == "s")
		require.Equal(t, strings.Contains(body, "snippet"), n.Snippet == "t")
		require.Equal(t, strings.Contains(body, "unseen"), n.Unseen != nil && *n.Unseen == 5)
	}

	t.Run("in a subject it is the subject's", func(t *testing.T) {
		subject := `"imap-uid":12","subject":"x", "imap-uid":7"}`
		require.Equal(t, subject, decode(t, string(withSubject(subject))).Subject)

		broken := strings.Replace(string(withSubject(subject)), `"imap-uid":4,`, `"imap-uid":4",`, 1)
		require.Equal(t, subject, decode(t, broken).Subject)
	})

	for name, body := range map[string]string{
		"behind another number":  strings.Replace(small, `"imap-uidvalidity":3`, `"imap-uidvalidity":3"`, 1),
		"behind a string":        strings.Replace(small, `"imap-uid":4`, `"imap-uid":"4""`, 1),
		"behind white space":     strings.Replace(small, `"imap-uid":4`, `"imap-uid":4 "`, 1),
		"twice":                  strings.Replace(small, `"imap-uid":4`, `"imap-uid":4""`, 1),
		"at the end of the body": `{"event":"messageNew","imap-uid":4"`,
		"further inside":         strings.Replace(small, `"unseen":5`, `"x":{"imap-uid":4"}`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := new(Decoder).Decode([]byte(body))
			var syntax *SyntaxError
			require.ErrorAs(t, err, &syntax)
		})
	}
}

func TestDecodeInvalidUTF8(t *testing.T) {
	n := decode(t, strings.NewReplacer(`"f"`, "\"J\xfcrgen\"", `"s"`, `"a\ud800b\udc00"`, `"t"`, "\"\xed\xa0\x80 \xf0\x9f\"").Replace(small))
	require.Equal(t, "J\uFFFDrgen", n.From)
	require.Equal(t, "a\uFFFDb\uFFFD", n.Subject)
	require.Equal(t, "\uFFFD\uFFFD\uFFFD \uFFFD\uFFFD", n.Snippet)
}

func TestDecodeBounds(t *testing.T) {
	for _, text := range []string{
		strings.Repeat("x", 1<<18),
		strings.Repeat("é", 1<<17),
		strings.Repeat("🎉", 1<<16),
		"x" + strings.Repeat("\u200d", 1<<16),
		strings.Repeat("\n ", 1<<17) + "end",
		strings.Repeat("\x01", 1<<16) + "end",
		strings.Repeat("=?utf-8?Q?=F0=9F=8E=89?=\n ", 1<<14),
		"=?utf-8?B?" + strings.Repeat("QUJD", 1<<16) + "?=",
	} {
		value, err := json.Marshal(text)
		require.NoError(t, err)
		n := decode(t, strings.NewReplacer(`"f"`, string(value), `"s"`, string(value), `"t"`, string(value)).Replace(small))
		for _, cut := range []string{n.From, n.Subject, n.Snippet} {
			require.LessOrEqual(t, len(cut), 1024)
			require.True(t, utf8.ValidString(cut))
			require.NotContains(t, cut, "\uFFFD", "cut between characters")
		}
		require.Equal(t, uint32(5), *n.Unseen, "what follows is read")
	}
	n := decode(t, string(withSubject(strings.Repeat("é", 1<<20))))
	require.Equal(t, strings.Repeat("é", MaxHeader/2), n.Subject)
}

// A megabyte of subject must not become megabytes of garbage per notification.
func TestDecodeTakesLittleMemory(t *testing.T) {
	body := withSubject(strings.Repeat("=?utf-8?Q?=F0=9F=8E=89?= ", 1<<20/25))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := new(Decoder).Decode(body)
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(128<<10))
}

// What is read alone is what is read with everything else.
func TestIdentifyFrom(t *testing.T) {
	var d Decoder
	for _, from := range []string{`"f"`, `"=?utf-8?q?J=C3=BCrgen?= <j@example.net>"`, `"\"Müller, J\" <j@example.net>"`, `null`, `5`, `"` + strings.Repeat("x", 5000) + `"`} {
		body := []byte(strings.Replace(small, `"f"`, from, 1))
		want := decode(t, string(body))
		n, text, err := d.IdentifyFrom(body)
		require.NoError(t, err)
		require.Equal(t, want.From, text())
		require.Equal(t, want.From, text(), "again")
		require.Equal(t, []any{want.User, want.Folder, want.UID, want.Event}, []any{n.User, n.Folder, n.UID, n.Event})
	}
	_, _, err := d.IdentifyFrom([]byte(`{}`))
	require.ErrorIs(t, err, ErrUnusedEvent)
}

func TestDecodeKeepsNothingOfBody(t *testing.T) {
	body := []byte(small)
	n, err := new(Decoder).Decode(body)
	require.NoError(t, err)
	copy(body, bytes.Repeat([]byte("#"), len(body)))
	unseen := uint32(5)
	require.Equal(t, &Notification{
		User: "u@example.com", Folder: "INBOX", UIDValidity: 3, UID: 4, Event: MessageNew,
		From: "f", Subject: "s", Snippet: "t", Unseen: &unseen,
	}, n)
}

func TestErrorsAreTold(t *testing.T) {
	_, err := new(Decoder).Decode([]byte(`{"user":secret}`))
	require.NotErrorIs(t, err, ErrUnusedEvent)
	require.EqualError(t, err, "notification: not a JSON object: at byte 8: value expected")
	_, err = new(Decoder).Decode([]byte(`{}`))
	require.Equal(t, ErrUnusedEvent, err)
}
