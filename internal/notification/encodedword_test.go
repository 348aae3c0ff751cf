// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/encoding/htmlindex"
)

// everyCharset decodes with the character sets that browsers know.
var everyCharset = Decoder{CharsetReader: func(charset string, input io.Reader) (io.Reader, error) {
	encoding, err := htmlindex.Get(charset)
	if err != nil {
		return nil, err
	}
	return encoding.NewDecoder().Reader(input), nil
}}

func TestDecodeWords(t *testing.T) {
	for in, want := range map[string]string{
		"":                  "",
		"no words = ? here": "no words = ? here",

		// RFC 2047, section 8.
		"(=?ISO-8859-1?Q?a?=)":                                    "(a)",
		"(=?ISO-8859-1?Q?a?= b)":                                  "(a b)",
		"(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)":                 "(ab)",
		"(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)":                "(ab)",
		"(=?ISO-8859-1?Q?a?=\n    =?ISO-8859-1?Q?b?=)":            "(ab)",
		"(=?ISO-8859-1?Q?a_b?=)":                                  "(a b)",
		"(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)":                "(a b)",
		"=?ISO-8859-1?Q?Patrik_F=E4ltstr=F6m?= <paf@nada.kth.se>": "Patrik Fältström <paf@nada.kth.se>",
		"=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?=\n =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=": "If you can read this you understand the example.",

		// What mailers really write.
		"=?utf-8?q?J=c3=bcrgen?=":                   "Jürgen",
		"=?UTF-8*de?Q?J=C3=BCrgen?=":                "Jürgen",
		"=?utf8?B?w7w?=":                            "ü",
		"=?us-ascii?Q?J=C3=BCrgen?=":                "Jürgen",
		"=?utf-8?Q?with raw spaces?=":               "with raw spaces",
		"=?utf-8?Q?folded\n inside?=":               "folded\n inside",
		"=?utf-8?Q??=x":                             "x",
		"Re:=?utf-8?Q?a?=b":                         "Re:ab",
		`"=?utf-8?Q?J=C3=BCrgen?=" <j@example.net>`: `"Jürgen" <j@example.net>`,
		"=?utf-8?Q?a?==?utf-8?Q?b?=":                "ab",
		"=?=?utf-8?Q?a?=":                           "=?a",
		"=?iso-8859-1?Q?It=92s_=8010?=":             "It’s €10",
		"=?windows-1252?Q?=93=E4=94?=":              "“ä”",
		"=?utf-8?Q?=3D=3Futf-8=3FQ=3Fa=3F=3D?=":     "=?utf-8?Q?a?=", // decoded once

		// Characters divided between words.
		"=?utf-8?Q?=F0=9F?= =?utf-8?Q?=8E=89?=":                               "🎉",
		"=?utf-8?B?8J8=?=\n =?UTF-8?Q?=8E=89?=":                               "🎉",
		"=?gb2312?B?xOM=?= =?gb2312?B?ug==?= =?gb2312?B?ww==?=":               "你好",
		"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=\n =?ISO-2022-JP?B?GyRCOGwbKEI=?=": "日本語",
		"=?koi8-r?B?8NLJ18XU?= =?windows-1251?B?7Ojw?=":                       "Приветмир",

		// Wrong ones stay, and so does the white space around them.
		"=?utf-8?Q?a?= =?x-nope?Q?b?= =?utf-8?Q?c?=": "a =?x-nope?Q?b?= c",
		"=?x-nope?Q?a?= =?x-nope?Q?b?=":              "=?x-nope?Q?a?= =?x-nope?Q?b?=",
		"=?utf-8?Q?a?= b =?utf-8?Q?c?=":              "a b c",
		"=?utf-8?Q?=ZZ?= =?utf-8?Q?b?=":              "=?utf-8?Q?=ZZ?= b",
		"=?utf-8?Q?=4?=":                             "=?utf-8?Q?=4?=",
		"=?utf-8?Q?ü?=":                              "=?utf-8?Q?ü?=",
		"=?utf-8?B?!!!!?=":                           "=?utf-8?B?!!!!?=",
		"=?utf-8?B?A?=":                              "=?utf-8?B?A?=",
		"=?utf-8?X?abc?=":                            "=?utf-8?X?abc?=",
		"=?utf-8?QQ?abc?=":                           "=?utf-8?QQ?abc?=",
		"=?utf-8?Q?a?b?=":                            "=?utf-8?Q?a?b?=",
		"=?utf-8?Q?abc?":                             "=?utf-8?Q?abc?",
		"=?utf-8?Q?abc":                              "=?utf-8?Q?abc",
		"=?utf-8?Q":                                  "=?utf-8?Q",
		"=?":                                         "=?",
		"=??Q?abc?=":                                 "=??Q?abc?=",

		"=?" + strings.Repeat("x", 65) + "?Q?abc?=": "=?" + strings.Repeat("x", 65) + "?Q?abc?=",
	} {
		require.Equal(t, want, string(everyCharset.decodeWords([]byte(in))), "%q", in)
	}
}

// What mime writes we read, wherever it divides the words.
func TestDecodeWordsReadsWhatMimeWrites(t *testing.T) {
	for _, text := range []string{
		"Grüße aus München",
		strings.Repeat("日本語 🎉 ", 40),
		"a\tb_c=d?e =?utf-8?Q?f?= ü",
	} {
		for _, encoder := range []mime.WordEncoder{mime.QEncoding, mime.BEncoding} {
			header := encoder.Encode("utf-8", text)
			require.Equal(t, text, string(new(Decoder).decodeWords([]byte(header))), header)
		}
		for size := 1; size <= len(text); size++ {
			var words []string
			for rest := text; rest != ""; rest = rest[min(size, len(rest)):] {
				words = append(words, fmt.Sprintf("=?utf-8?B?%s?=", base64.StdEncoding.EncodeToString([]byte(rest[:min(size, len(rest))]))))
			}
			require.Equal(t, text, string(new(Decoder).decodeWords([]byte(strings.Join(words, "\n ")))))
		}
	}
}

func TestDecodeWordsAsksCharsetReader(t *testing.T) {
	const word = "=?X-Some*en?Q?abc?="
	for name, c := range map[string]struct {
		reader func(string, io.Reader) (io.Reader, error)
		want   string
	}{
		"none":          {nil, word},
		"unknown":       {func(string, io.Reader) (io.Reader, error) { return nil, errors.New("unknown") }, word},
		"none returned": {func(string, io.Reader) (io.Reader, error) { return nil, nil }, word},
		"fails later": {func(_ string, in io.Reader) (io.Reader, error) {
			return io.MultiReader(io.LimitReader(in, 1), failing{}), nil
		}, word},
		"without an end": {func(string, io.Reader) (io.Reader, error) { return endless{}, nil }, strings.Repeat("x", maxRaw)},
		"lower case name": {func(name string, _ io.Reader) (io.Reader, error) {
			return strings.NewReader(name), nil
		}, "x-some"},
	} {
		t.Run(name, func(t *testing.T) {
			d := Decoder{CharsetReader: c.reader}
			require.Equal(t, "<"+c.want+">", string(d.decodeWords([]byte("<"+word+">"))))
		})
	}
}

func TestDecodeWordsBoundsCharsetNames(t *testing.T) {
	d := Decoder{CharsetReader: func(_ string, in io.Reader) (io.Reader, error) { return in, nil }}
	longest := strings.Repeat("x", maxCharset)
	require.Equal(t, "abc", string(d.decodeWords([]byte("=?"+longest+"?Q?abc?="))))
	for _, charset := range []string{"", longest + "x"} {
		word := "=?" + charset + "?Q?abc?="
		require.Equal(t, word, string(d.decodeWords([]byte(word))))
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("broken") }

type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, "x"), nil }
