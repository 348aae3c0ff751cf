// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPage(t *testing.T) {
	const site = "https://mail.example.com"
	check := func(page, lang string) string {
		d := Subscription{Name: "Phone", Endpoint: "https://push.example/1", Keys: newKeys(t), Page: page, Lang: lang}
		err := d.check()
		if err == nil {
			return ""
		}
		field, ok := errors.AsType[*FieldError](err)
		require.True(t, ok)
		return field.Field
	}
	for _, page := range []string{"", site + "/", site + ":8443/push/", "https://[2001:db8::1]/%C3%A4/", "http://localhost:8080/push/", "http://127.0.0.1/", "http://[::1]/"} {
		assert.Empty(t, check(page, "pt-BR"), page)
	}
	for _, page := range []string{
		"javascript:alert(1)", "javascript://mail.example.com/%0aalert(1)", "data:text/html,x", "/push/", "//mail.example.com/", "mail.example.com",
		"http://mail.example.com/", "http://localhost.example.com/", "https://user@mail.example.com/", site + `\@evil.example/`, site + "/?q", site + "/#f",
		site + "/ä", site + "/\n", "https:mail.example.com", "https:///", site + "/" + strings.Repeat("x", MaxPage),
	} {
		assert.Equal(t, "page", check(page, ""), page)
	}
	for _, lang := range []string{"d e", "dé", `"`, strings.Repeat("x", MaxLang+1)} {
		assert.Equal(t, "lang", check("", lang), lang)
	}
}
