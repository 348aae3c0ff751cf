// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseColor(t *testing.T) {
	c, err := ParseColor("#0B6b63")
	require.NoError(t, err)
	assert.Equal(t, "#0b6b63", c.String())
	for _, mistake := range []string{"", "#", "#fff", "0b6b63", "#0b6b6g", "#0b6b630", "teal", "#0b6b63;"} {
		_, err := ParseColor(mistake)
		assert.ErrorContains(t, err, "such as #0b6b63", mistake)
	}
}

// Whatever the accent is, it can be read, and what is written on it.
func TestAccentIsReadable(t *testing.T) {
	values := regexp.MustCompile(`--(?:accent|on-accent|accent-soft): (#\w{6});`)
	for r := 0; r <= 255; r += 51 {
		for g := 0; g <= 255; g += 51 {
			for b := 0; b <= 255; b += 51 {
				accent := Color{uint8(r), uint8(g), uint8(b)}
				found := values.FindAllStringSubmatch(accentRule(accent), -1)
				require.Len(t, found, 6)
				for scheme, grounds := range map[int][]Color{0: lightGrounds, 3: darkGrounds} { // by where its values begin
					color := func(i int) Color {
						c, err := ParseColor(found[scheme+i][1])
						require.NoError(t, err)
						return c
					}
					for _, ground := range append([]Color{color(1), color(2)}, grounds...) {
						assert.GreaterOrEqual(t, contrast(color(0), ground), 4.5, "%v: %v on %v", accent, color(0), ground)
					}
				}
			}
		}
	}
	// One that is readable as it is stays so.
	assert.Contains(t, accentRule(Color{0x0b, 0x6b, 0x63}), ":root { --accent: #0b6b63;")
}

// The grounds are those of the style sheet.
func TestGrounds(t *testing.T) {
	light, dark, _ := strings.Cut(source(t, "app.css")["app/app.css"], "@media (prefers-color-scheme: dark)")
	for i, name := range []string{"card", "page", "raised"} {
		assert.Contains(t, light, "--"+name+": "+lightGrounds[i].String()+";")
		assert.Contains(t, dark, "--"+name+": "+darkGrounds[i].String()+";")
	}
}

func TestTheme(t *testing.T) {
	h := New(Options{})
	plain := body(t, get(h, http.MethodGet, "/app.css"))
	assert.Equal(t, 2, strings.Count(plain, "--accent: "), "on light and on dark")
	assert.Contains(t, body(t, get(h, http.MethodGet, "/")), `<img src="icons/icon.svg" alt=""`)

	h = New(Options{Accent: &Color{0xff, 0, 0}, Logo: "/logo.svg?a&b"})
	themed := body(t, get(h, http.MethodGet, "/app.css"))
	assert.True(t, strings.HasPrefix(themed, plain))
	assert.Equal(t, 4, strings.Count(themed, "--accent: "))
	assert.Contains(t, body(t, get(h, http.MethodGet, "/")), `<img src="/logo.svg?a&amp;b" alt=""`)
}

// What the operator has is linked, and nothing else.
func TestLinks(t *testing.T) {
	document := body(t, get(New(Options{}), http.MethodGet, "/"))
	assert.NotContains(t, document, "<footer")
	assert.NotContains(t, document, `id="forgotten"`)
	document = body(t, get(New(Options{
		HelpURL: "https://example.com/help?a&b", PasswordURL: "/password", PrivacyURL: "/privacy", ImprintURL: "/imprint",
	}), http.MethodGet, "/"))
	for key, link := range map[string]string{
		"footer.help": "https://example.com/help?a&amp;b", "signIn.forgotten": "/password", "footer.privacy": "/privacy", "footer.imprint": "/imprint",
	} {
		assert.Regexp(t, `<a [^>]*href="`+regexp.QuoteMeta(link)+`"[^>]* data-t="`+key+`"`, document)
	}
	document = body(t, get(New(Options{ImprintURL: "/imprint"}), http.MethodGet, "/"))
	assert.Contains(t, document, "footer.imprint")
	assert.NotContains(t, document, "footer.help")
}
