// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The values are those that java.util.Properties.load of Java 17 has.
func TestJavaProperties(t *testing.T) {
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
		{"ISO 8859-1", "l=\xe9", map[string]string{"l": "é"}},
		{"no variables", "p=${a}", map[string]string{"p": "${a}"}},
		{"the last one counts", "a=1\na=2", map[string]string{"a": "2"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := parseProperties([]byte(test.content))
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
	for _, content := range []string{`a=\u12`, `a=\u12g4`, `\u=1`, `a=\u+123`, `a=\u 12`} {
		_, err := parseProperties([]byte(content))
		require.ErrorIs(t, err, errUnicodeEscape, content)
	}
}

const propertiesFile = `# Settings for the connector to Dovecot's DoveAdm
com.openexchange.dovecot.doveadm.enabled=true
com.openexchange.dovecot.doveadm.endpoints=http://imap1:8080/doveadm/v1,\
    http://imap2:8080/doveadm/v1 ,
com.openexchange.dovecot.doveadm.apiSecret=s\u0065cret\=
com.openexchange.dovecot.doveadm.endpoints.totalConnections=50
com.openexchange.dovecot.doveadm.endpoints.maxConnectionsPerRoute = 20
com.openexchange.dovecot.doveadm.endpoints.readTimeout: 2500
com.openexchange.dovecot.doveadm.endpoints.connectTimeout 1500
com.openexchange.dovecot.doveadm.endpoints.checkInterval=30000
com.openexchange.dovecot.doveadm.endpoints.default=http://imap3:8080/doveadm/v1
com.openexchange.dovecot.doveadm.apisecret=typo
com.openexchange.push.dovecot.enabled=true
`

func TestReadProperties(t *testing.T) {
	cfg, unknown, err := ReadProperties(strings.NewReader(propertiesFile))
	require.NoError(t, err)
	assert.Equal(t, Config{
		Endpoints:        []string{"http://imap1:8080/doveadm/v1", "http://imap2:8080/doveadm/v1"},
		APISecret:        "secret=",
		TotalConnections: 50, MaxConnectionsPerRoute: 20,
		ReadTimeout: 2500 * time.Millisecond, ConnectTimeout: 1500 * time.Millisecond, CheckInterval: 30 * time.Second,
	}, cfg)
	assert.Equal(t, []string{PropertyPrefix + "apisecret", PropertyPrefix + "endpoints.default"}, unknown)
}

func TestReadPropertiesErrors(t *testing.T) {
	for content, want := range map[string]string{
		"":                                 "enabled is not true",
		PropertyPrefix + "enabled=false":   "enabled is not true",
		PropertyPrefix + "apiSecret=\\ust": "hexadecimal",
		PropertyPrefix + "endpoints.readTimeout=st\n" + PropertyPrefix + "endpoints.checkInterval=99999999999": "endpoints.checkInterval is no number",
		strings.Repeat("#", maxProperties+1): "longer than",
	} {
		_, _, err := ReadProperties(strings.NewReader(content))
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "st\n")
	}
	_, _, err := ReadProperties(strings.NewReader(PropertyPrefix + "enabled = TRUE\n"))
	require.NoError(t, err)
}
