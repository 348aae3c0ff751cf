// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package properties

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The values are those that java.util.Properties.load of Java 17 has with a reader
// of UTF-8, as Open-Xchange calls it.
func TestParse(t *testing.T) {
	for _, test := range []struct {
		name, content string
		want          map[string]string
	}{
		{"separators", "a=1\nb : 2\nc 3\no\t:\tq\nr==x\ni\nj=\n=empty\n\f k\fv", map[string]string{"a": "1", "b": "2", "c": "3", "o": "q", "r": "=x", "i": "", "j": "", "": "empty", "k": "v"}},
		{"blanks", "  d=4  \n\n \t\n", map[string]string{"d": "4  "}},
		{"comments do not go on", "!comment \\\ne=5\n  # c\\\nf=6", map[string]string{"e": "5", "f": "6"}},
		{"lines that go on", "f=x\\\n   y\\\n\t z\nm=a\\\n\n n=1\nc=a\\\n#no comment\ne=\\\\\nl=1\\", map[string]string{"f": "xyz", "m": "a", "n": "1", "c": "a#no comment", "e": `\`, "l": "1"}},
		{"ends of lines", "x=1\r\ny=2\\\r\n  3\rz=4\\\r5", map[string]string{"x": "1", "y": "23", "z": "45"}},
		{"escapes", `h=a\qb\n\t\r\f\\` + "\nk\\:ey\\=x=v=w:x\nk\\ 2=\\ y\n" + `g=\u00e9\ud83d\ude00`, map[string]string{"h": "aqb\n\t\r\f\\", "k:ey=x": "v=w:x", "k 2": " y", "g": "é😀"}},
		{"UTF-8", "l=é\nschlüssel=ß😀", map[string]string{"l": "é", "schlüssel": "ß😀"}},
		{"ISO 8859-1", "l=\xe9", map[string]string{"l": "\ufffd"}},
		{"no variables", "p=${a}", map[string]string{"p": "${a}"}},
		{"the last one counts", "a=1\na=2", map[string]string{"a": "2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Parse([]byte(test.content))
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
	for _, content := range []string{`a=\u12`, `a=\u12g4`, `\u=1`, `a=\u+123`, `a=\u 12`} {
		_, err := Parse([]byte(content))
		require.ErrorIs(t, err, ErrEscape, content)
	}
}

func TestCheck(t *testing.T) {
	for value, want := range map[string]error{
		"": nil, "schlüssel-é": nil, "{{": nil, "a{b}": nil,
		"\ufffd": ErrEncoding, "a{{env KEY:x}}b": ErrVariable, "{{KEY}}": ErrVariable,
	} {
		assert.ErrorIs(t, Check(value), want, value)
	}
}

// Whatever a file holds, it is read or refused, and nothing of it is in the error.
func FuzzParse(f *testing.F) {
	f.Add([]byte("a=\\u00e9\\\r\n  x\\"))
	f.Add([]byte("!\\\n= :\f\\"))
	f.Add([]byte("secret=\\u12"))
	f.Fuzz(func(t *testing.T, content []byte) {
		values, err := Parse(content)
		switch {
		case err != nil && (err != ErrEscape || values != nil): //nolint:errorlint // exactly this text, and no other
			t.Errorf("%v with %d values", err, len(values))
		case err == nil && len(values) > len(content)+1:
			t.Error("more than there is")
		}
	})
}
