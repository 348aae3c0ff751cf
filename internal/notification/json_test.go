// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestScanErrors(t *testing.T) {
	for _, c := range []struct {
		body    string
		offset  int
		problem string
	}{
		{``, 0, "'{' expected, but the body ends"},
		{"  \n", 3, "'{' expected, but the body ends"},
		{`null`, 0, "'{' expected"},
		{`[]`, 0, "'{' expected"},
		{"\ufeff{}", 0, "'{' expected"},
		{`{`, 1, "name of a member expected, but the body ends"},
		{`{x`, 1, "name of a member expected"},
		{`{"a"`, 4, "':' expected, but the body ends"},
		{`{"a";1}`, 4, "':' expected"},
		{`{"a":`, 5, "value expected, but the body ends"},
		{`{"a":}`, 5, "value expected"},
		{`{"a":1`, 6, "',' or '}' expected, but the body ends"},
		{`{"a":1 "b"`, 7, "',' or '}' expected"},
		{`{"a":1,}`, 7, "name of a member expected"},
		{`{"a":01}`, 6, "',' or '}' expected"},
		{`{"a":-}`, 6, "digit expected"},
		{`{"a":1.}`, 7, "digit expected"},
		{`{"a":1e+}`, 8, "digit expected"},
		{`{"a":tru}`, 8, "value expected"},
		{`{"a":nul`, 8, "value expected, but the body ends"},
		{`{"a`, 3, `'"' expected, but the body ends`},
		{`{"a":"b`, 7, `'"' expected, but the body ends`},
		{`{"a":"b\`, 8, "unknown escape in a string, but the body ends"},
		{`{"a":"\x"}`, 7, "unknown escape in a string"},
		{`{"a":"\u00g0"}`, 10, "hexadecimal digit expected"},
		{"{\"a\":\"b\nc\"}", 7, "control character in a string"},
		{`{"a":[1,]}`, 8, "value expected"},
		{`{"a":[1;2]}`, 7, "',' or ']' expected"},
		{`{"a":{"b":1]}`, 11, "',' or '}' expected"},
		{`{}{}`, 2, "nothing more expected"},
		{"{}\x00", 2, "nothing more expected"},
		{`{"a":` + strings.Repeat("[", 100), 68, "nested too deep"},
		{strings.Repeat(`{"a":`, 1<<20), 320, "nested too deep"},
	} {
		t.Run(c.body[:min(len(c.body), 20)], func(t *testing.T) {
			_, err := new(Decoder).Decode([]byte(c.body))
			var syntax *SyntaxError
			require.ErrorAs(t, err, &syntax)
			require.Equal(t, SyntaxError{Offset: c.offset, Problem: c.problem}, *syntax)
			require.False(t, json.Valid([]byte(c.body)) && strings.HasPrefix(c.body, "{"))
		})
	}
}

func TestScanAcceptsEveryJSON(t *testing.T) {
	m, err := scan([]byte(" {\t\"x\" :\r\n[ ] , \"y\":{ },\"z\":[[1,-0.5E-7,{\"user\":\"other\"}],true,false,null,\"\\\"\\u00Af\\/\"],\"user\" : \"u\" } \n"))
	require.NoError(t, err)
	require.Equal(t, `"u"`, string(m.user), "only the outermost object has members for us")
	require.Empty(t, m.repeated)

	deepest := strings.Repeat("[", maxDepth-1) + strings.Repeat("]", maxDepth-1)
	_, err = scan([]byte(`{"a":` + deepest + `}`))
	require.NoError(t, err)
}

// Nothing but the stray quote goes, and what is repaired is the same
// notification.
func TestRepair(t *testing.T) {
	for body, want := range map[string]string{
		`{"user":"u","event":"messageNew","folder":"INBOX","imap-uid":12","subject":"no from here"}`: `{"user":"u","event":"messageNew","folder":"INBOX","imap-uid":12,"subject":"no from here"}`,
		`{"user":"u","event":"messageNew","folder":"INBOX","imap-uid":12"}`:                          `{"user":"u","event":"messageNew","folder":"INBOX","imap-uid":12}`,
		`{"imap-uid":12", "user":"u","event":"messageNew","folder":"\",12\""}`:                       `{"imap-uid":12, "user":"u","event":"messageNew","folder":"\",12\""}`,
		`{"user":"u","event":"messageNew","folder":"\"imap-uid\":12\"","imap-uid":12}`:               "",
	} {
		before := strings.Clone(body)
		n, err := Identify([]byte(body), nil)
		require.NoError(t, err)
		valid, repaired := n.Repair([]byte(body))
		require.Equal(t, want != "", repaired)
		if want == "" {
			want = body
		}
		require.Equal(t, want, string(valid))
		require.Equal(t, before, body)
		require.True(t, json.Valid(valid))
		again, err := Identify(valid, nil)
		require.NoError(t, err)
		n.stray = 0
		require.Equal(t, n, again)
	}
}
