// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"os"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWebmail(t *testing.T) {
	t.Setenv("WEBMAIL", "https://mail.example.com")
	for text, want := range map[string]webmail{
		"":                         {},
		"https://mail.example.com": {url: "https://mail.example.com"},
		"/webmail/":                {url: "/webmail/"},
		"{env.WEBMAIL}/":           {url: "https://mail.example.com/"},
		"{env.WEBMAIL}/a/b{uid}":   {"https://mail.example.com/a/", "https://mail.example.com/a/b{uid}"},
		"{env.WEBMAIL}?uid={uid}":  {"https://mail.example.com", "https://mail.example.com?uid={uid}"},
		"/webmail/?a=b#{folder}":   {"/webmail/?a=b", "/webmail/?a=b#{folder}"},
		"/{user}/{folder}/{uid}/":  {"/", "/{user}/{folder}/{uid}/"},
	} {
		got, err := newWebmail(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"{uid}", "{user}://mail.example.com/", "https://{user}/", "https://{user}.example.com/", "https://mail.example.com{uid}", "https://mail.example.com:80{uid}/",
		"https://{user}@mail.example.com/", "javascript:{uid}", "javascript:alert({uid})", "data:{uid}", "//mail.example.com/", "//{user}/", `/\mail.example.com/{uid}`, "mail{uid}",
		"https:{uid}", "https:///{uid}", "https://mail.example.com/{message_id}", "https://mail.example.com/{UID}", "https://mail.example.com/{}", "{env.NONE}/{uid}",
	} {
		_, err := newWebmail(text)
		require.ErrorContains(t, err, "webmail_url", text)
	}
	page, err := os.ReadFile("../docs/page.md")
	require.NoError(t, err)
	examples := regexp.MustCompile("`(https://[^`]+\\{uid\\}[^`]*)`").FindAllStringSubmatch(string(page), -1)
	assert.Len(t, examples, 4)
	for _, example := range examples {
		got, err := newWebmail(example[1])
		require.NoError(t, err)
		assert.Equal(t, example[1], got.mailURL)
		assert.Regexp(t, `^https://mail\.example\.com/(SOGo/so/|appsuite/)?$`, got.url)
	}
}
