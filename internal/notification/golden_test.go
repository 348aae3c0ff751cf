// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/decoded.jsonl again; read the difference before you keep it")

// decoded is one line of testdata/decoded.jsonl: the result for one fixture.
type decoded struct {
	Fixture      string
	Notification *Notification `json:",omitempty"` // nil: ErrUnusedEvent
}

func TestDecodeFixtures(t *testing.T) {
	const golden = "testdata/decoded.jsonl"
	var lines bytes.Buffer
	out := json.NewEncoder(&lines)
	out.SetEscapeHTML(false)
	for _, f := range fixtures(t) {
		n, err := new(Decoder).Decode(f.body)
		if lua := bytes.HasPrefix(f.body, []byte(`{"events":[`)); lua {
			require.ErrorIs(t, err, ErrUnusedEvent, f.name)
		} else {
			require.NoError(t, err, f.name)
		}
		require.NoError(t, out.Encode(decoded{f.name, n}))
	}
	if *update {
		require.NoError(t, os.WriteFile(golden, lines.Bytes(), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, strings.Split(string(want), "\n"), strings.Split(lines.String(), "\n"))
}

// The members that decide are what any other reader of the same JSON sees.
func TestDecodeFixturesAgreesWithEncodingJSON(t *testing.T) {
	for _, f := range fixtures(t) {
		if strings.HasPrefix(f.name, "2.2.27/") {
			f.body = bytes.Replace(f.body, []byte(`:12",`), []byte(`:12,`), 1)
		}
		var want struct {
			User, Folder, Event string
			UIDValidity         uint32 `json:"imap-uidvalidity"`
			UID                 uint32 `json:"imap-uid"`
			Unseen              *uint32
		}
		require.NoError(t, json.Unmarshal(f.body, &want), f.name)
		n, err := new(Decoder).Decode(f.body)
		if errors.Is(err, ErrUnusedEvent) {
			require.Empty(t, want.Event, f.name)
			continue
		}
		require.NoError(t, err, f.name)
		require.Equal(t, want.User, n.User, f.name)
		require.Equal(t, want.Folder, n.Folder, f.name)
		require.Equal(t, want.Event, string(n.Event), f.name)
		require.Equal(t, want.UIDValidity, n.UIDValidity, f.name)
		require.Equal(t, want.UID, n.UID, f.name)
		require.Equal(t, want.Unseen, n.Unseen, f.name)
		require.NotNil(t, n.Unseen, f.name)
	}
}

func TestDecodeFixturesByHand(t *testing.T) {
	const alice = "Alice Example <alice@example.net>"
	mb := "ä€🎉"
	for _, c := range []struct {
		fixture                string
		uid                    uint32
		from, subject, snippet string
	}{
		{"2.2.27/11-no-from.http", 12, "", "no from here", "body"},
		{"2.2.36.4/04-raw-latin1-headers.http", 4, "J\uFFFDrgen <jm@example.net>", "caf\uFFFD latin1", "body \uFFFD latin1"},
		{"2.2.36.4/17c-nul-in-subject-and-body.http", 21, "a@example.net", "nul", "bodywith nul"},
		{"2.2.36.4/18-u2028-lineseps.http", 22, "a@example.net", "ls ps end", "body ls ps nel bom zwsp\u200b rtl end"},
		{"2.2.36.4/19-long-body.http", 23, alice, "long body", strings.Repeat("0123456789", 7) + " 01234567890123456789012345678"},
		{"2.2.36.4/21b-only-quoted.http", 26, alice, "Re: onlyquote", ""},
		{"2.2.36.4/22-invalid-utf8-body.http", 27, "a@example.net", "bad utf8", "ok \uFFFD( bad \uFFFD\uFFFD\uFFFD end"},
		{"2.3.19/01-plain-ascii.http", 1, alice, "Hello world", "Hello Bob, this is a plain message. Tabbed line. -- sig"},
		{"2.3.19/02-encoded-words.http", 2, "Jürgen Müller <jm@example.net>", "Grüße aus München café", "Grüße aus München – mit „Anführungszeichen“"},
		{"2.3.19/03-raw-utf8-headers.http", 3, "Jürgen Müller <jm@example.net>", "Grüße roh €", "Körper"},
		{"2.3.19/05-emoji.http", 5, "Em <e@example.net>", "🎉 party 👨\u200d👩\u200d👧", "Party 🎉 family 👨\u200d👩\u200d👧 end"},
		{"2.3.19/06-html-only.http", 7, alice, "html only", `T Hello bold & <tag> "quoted" second para`},
		{"2.3.19/13-no-headers-at-all.http", 14, "", "", "body only"},
		{"2.3.19/14-empty-from-and-subject.http", 15, "", "", "body"},
		{"2.3.19/17-control-chars.http", 19, "abc[31m <a@example.net>", `tab here bell esc[31m del nul- us backslash\ quote" slash/`, `ctl body \ " / tab`},
		{"2.3.19/17b-bare-cr-in-subject.http", 20, "a@example.net", "cr inside", "body with cr"},
		{"2.3.19/17c-nul-in-subject-and-body.http", 21, "a@example.net", "nul\uFFFDinside", "bodywith nul"},
		{"2.3.19/20-long-body-multibyte.http", 24, alice, "long body mb", strings.Repeat(strings.Repeat(mb, 20)+" ", 3) + strings.Repeat(mb, 5) + "ä€"},
		{"2.3.19/24-sender-group.http", 29, "undisclosed-recipients:;", "group", "x"},
		{"2.3.19/41-uid-zero-concurrent-maildir.http", 0, "a@example.net", "conc", "x"},
		{"2.4.1/18-u2028-lineseps.http", 22, "a@example.net", "ls ps end", "body ls ps nel bom zwsp\u200b rtl end"},
		{"2.4.1/21b-only-quoted.http", 26, alice, "Re: onlyquote", ">quoted line 1 quoted line 2"},
		{"2.4.1/25-json-breakers.http", 30, `"\"}],{" <a@example.net>`, `","x":"y`, `</script>{"a":1}`},
		{"2.4.1/26-invalid-encoded-word.http", 31, "\uFFFD\uFFFD\uFFFD <a@example.net>", "\uFFFD\uFFFD =?x-nope?Q?abc?=", "x"},
		{"2.4.1/27-folded-subject-2-lines.http", 32, "A <a@example.net>", "first part second part third part", "x"},
		{"2.4.1/70-lua-lmtp-new-2.http", 5, "Jürgen <j@example.net>", "Grüße", "Hello body"},
	} {
		t.Run(c.fixture, func(t *testing.T) {
			n, err := new(Decoder).Decode(fixture(t, c.fixture).body)
			require.NoError(t, err)
			require.Equal(t, "INBOX", n.Folder)
			require.Equal(t, c.uid, n.UID)
			require.Equal(t, c.from, n.From)
			require.Equal(t, c.subject, n.Subject)
			require.Equal(t, c.snippet, n.Snippet)
		})
	}
}
