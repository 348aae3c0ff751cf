// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUnescape(t *testing.T) {
	for inner, want := range map[string]string{
		``:                         "",
		`a\"\\\/\b\f\n\r\tb`:       "a\"\\/\b\f\n\r\tb",
		`\u0041\u00e9\u20AC\ufffd`: "Aé€\ufffd",
		`\ud83c\uDF89`:             "🎉",
		"é€🎉":                      "é€🎉",
	} {
		got, exact := unescape(nil, []byte(inner), 100)
		require.Equal(t, want, string(got))
		require.True(t, exact, inner)
	}
	for inner, want := range map[string]string{
		`\ud83c`:                 "\ufffd",
		`\ud83cx`:                "\ufffdx",
		`\ud83c\n`:               "\ufffd\n",
		`\ud83c\u0041`:           "\ufffdA",
		`\ud83c\ud83c\udf89`:     "\ufffd🎉",
		`\udf89\ud83c`:           "\ufffd\ufffd",
		"a\xffb":                 "a\ufffdb",
		"\xf0\x9f\x8e":           "\ufffd\ufffd\ufffd",
		strings.Repeat("x", 101): strings.Repeat("x", 100),
	} {
		got, exact := unescape(nil, []byte(inner), 100)
		require.Equal(t, want, string(got))
		require.False(t, exact, inner)
	}
}
