// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"":                          "",
		" \t\r\n ":                  "",
		"plain":                     "plain",
		"  a  b\t\tc\u00a0d \n":     "a b c d",
		"first\n second\r\n\tthird": "first second third",
		"cr\rinside":                "cr inside",
		"a\u0085b\u2028c\u2029d":    "a b c d",
		"a\u3000b\u200a \u1680c":    "a b c",
		"a\x00b\x01c\x1bd\x7fe":     "abcde",
		"a\u0080b\u009bc":           "abc",
		"a \x01 b":                  "a b",
		"\x01 a":                    "a",
		"\u202egnp.exe\u202c":       "gnp.exe",
		"\u2066a\u2067b\u2068c\u2069\u202a\u202b\u202d": "abc",
		"👨\u200d👩\u200d👧 می\u200cخواهم \u200fשלום":      "👨\u200d👩\u200d👧 می\u200cخواهم \u200fשלום",
		"a\xffb\xc3":                    "a\uFFFDb\uFFFD",
		"=?utf-8?Q?not_decoded?=":       "=?utf-8?Q?not_decoded?=",
		"undisclosed-recipients:;":      "undisclosed-recipients:;",
		`Team: A <a@x>, "B" <b@x>;`:     `Team: A <a@x>, "B" <b@x>;`,
		"Subject with \"quotes\" & <b>": "Subject with \"quotes\" & <b>",
	} {
		require.Equal(t, want, clean([]byte(in), MaxHeader), "%q", in)
	}
}

func TestCleanCuts(t *testing.T) {
	for _, c := range []struct {
		in    string
		limit int
		want  string
	}{
		{"abcdef", 6, "abcdef"},
		{"abcdef", 5, "abcde"},
		{"äöü", 5, "äö"},
		{"äöü", 4, "äö"},
		{"a🎉", 4, "a"},
		{"a🎉", 5, "a🎉"},
		{"ab cd", 3, "ab"},
		{"ab  cd", 4, "ab c"},
		{"ab        ", 2, "ab"},
		{"ab\xff", 4, "ab"},
		{strings.Repeat("\x01", 100) + "ab", 2, "ab"},
	} {
		require.Equal(t, c.want, clean([]byte(c.in), c.limit), "%q to %d", c.in, c.limit)
	}
}

func TestUnquoteName(t *testing.T) {
	for in, want := range map[string]string{
		``:                                 ``,
		`j@example.net`:                    `j@example.net`,
		`Jürgen <j@example.net>`:           `Jürgen <j@example.net>`,
		`"Jürgen" <j@example.net>`:         `Jürgen <j@example.net>`,
		`"Müller, Jürgen" <j@example.net>`: `Müller, Jürgen <j@example.net>`,
		`" Jürgen " <j@example.net>`:       `Jürgen <j@example.net>`,
		`"" <j@example.net>`:               `"" <j@example.net>`,
		`" " <j@example.net>`:              `" " <j@example.net>`,
		`"a\"b" <j@example.net>`:           `"a\"b" <j@example.net>`,
		`"boss@corp" <j@example.net>`:      `"boss@corp" <j@example.net>`,
		`"Boss <b" <j@example.net>`:        `"Boss <b" <j@example.net>`,
		`"A" <a@x>, "B" <b@x>`:             `"A" <a@x>, "B" <b@x>`,
		`"A" <a@x>, B <b@x>`:               `"A" <a@x>, B <b@x>`,
		`"A" "B" <b@x>`:                    `"A" "B" <b@x>`,
		`"without end <b@x>`:               `"without end <b@x>`,
		`"`:                                `"`,
		`" <`:                              `" <`,
	} {
		require.Equal(t, want, unquoteName(in))
	}
}
