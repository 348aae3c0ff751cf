// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package printable

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestText(t *testing.T) {
	for text, want := range map[string]string{
		"": "",
		"Grüße, 世界, שלום, \u200f 👩\u200d👩\u200d👧": "Grüße, 世界, שלום, \u200f 👩\u200d👩\u200d👧",
		"a\tb\nc":                    "a\tb\nc",
		"\x1b[2J":                    `\u001b[2J`,
		"a\rb\x00\x7f":               `a\u000db\u0000\u007f`,
		"\u009b2J \u0085":            `\u009b2J \u0085`,
		"\x9b2J":                     `\ufffd2J`,
		"\ufffd":                     "\ufffd",
		"gpj.\u202eexe \u202a\u202c": `gpj.\u202eexe \u202a\u202c`,
		"\u2066x\u2069 \u2028\u2029": `\u2066x\u2069 \u2028\u2029`,
		"🏴\U000e0067":                `🏴\udb40\udc67`,
	} {
		require.Equal(t, want, Text(text))
	}
}

// It does not matter in which parts something is written, and JSON stays what
// it is.
func TestWriter(t *testing.T) {
	const value = "a\x1bé\u009b\u202e👩\U000e0067z"
	encoded, err := json.Marshal(value)
	require.NoError(t, err)
	for size := 1; size <= len(encoded); size++ {
		var out bytes.Buffer
		w := NewWriter(&out)
		for rest := encoded; len(rest) > 0; {
			n, err := w.Write(rest[:min(size, len(rest))])
			require.NoError(t, err)
			rest = rest[n:]
		}
		require.Equal(t, Text(string(encoded)), out.String())
		var back string
		require.NoError(t, json.Unmarshal(out.Bytes(), &back))
		require.Equal(t, value, back)
	}
	var out bytes.Buffer
	w := NewWriter(&out)
	for _, part := range []string{"\xe2", "\x80", "x", "\xff", "\x80\x80\x80\x80"} {
		_, err := w.Write([]byte(part))
		require.NoError(t, err)
	}
	require.Equal(t, `\ufffd\ufffdx\ufffd\ufffd\ufffd\ufffd\ufffd`, out.String())
}
