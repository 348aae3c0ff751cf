// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const goodWebhook = `{
	skip_install_trust
	dovecot_push {
		queue embedded {
			path QUEUE
		}
		deliver webhook chat {env.TEST_HOOK_URL} {
			secret {env.TEST_HOOK_SECRET}
			signature_header X-Signature {env.TEST_OX_SECRET}
			header X-Hook-Token {env.TEST_OX_SECRET}
			content sender
			template ` + "`" + `{"text":{{json .Subject}}}` + "`" + `
		}
	}
}
`

func TestWebhookMistakes(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("TEST_HOOK_URL", "https://hooks.example.com/t0ken")
	t.Setenv("TEST_HOOK_SECRET", "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	t.Setenv("TEST_OX_SECRET", "ox-secret")
	t.Setenv("TEST_BAD_URL", "hooks.example.com/t0ken")
	t.Setenv("TEST_UNREADABLE_URL", "https://hooks.example.com/%zzt0ken")
	file := filepath.Join(t.TempDir(), "mail.tmpl")
	require.NoError(t, os.WriteFile(file, []byte(`{"text":"{{.Subject}}"}`), 0o600))
	empty := filepath.Join(t.TempDir(), "empty.tmpl")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	inline := "template `{\"text\":{{json .Subject}}}`"

	for _, test := range []struct{ name, old, mistake, want string }{
		{"none", "", "", ""},
		{"a URL that is written out is none", "{env.TEST_HOOK_URL}", "http://10.0.0.1:8123/api/webhook/x", ""},
		{"a header field with a part that is secret is none", "header X-Hook-Token {env.TEST_OX_SECRET}", `header Authorization "Bearer {env.TEST_OX_SECRET}"`, ""},
		{"an ordinary header field is none", "header X-Hook-Token {env.TEST_OX_SECRET}", "header X-Team mail", ""},
		{"a template that makes no JSON is none with another type", inline, "template \"{{.Subject}}\"\nheader Content-Type text/plain", ""},
		{"no scheme", "{env.TEST_HOOK_URL}", "{env.TEST_BAD_URL}", "webhook chat: the URL must begin with https:// or http:// and a host"},
		{"no URL", "{env.TEST_HOOK_URL}", "{env.TEST_UNREADABLE_URL}", "the URL cannot be read"},
		{"no variable for the URL", "{env.TEST_HOOK_URL}", "{env.TEST_NO_SUCH_VARIABLE}", "url: "},
		{"unknown placeholder in the URL", "{env.TEST_HOOK_URL}", "https://hooks.example.com/{id}", "url: unrecognized placeholder {id}"},
		{"credentials in the URL", "{env.TEST_HOOK_URL}", "https://u:swordfish@hooks.example.com", "use credentials"},
		{"literal secret", "{env.TEST_HOOK_SECRET}", "whsec_swordfish", "a secret must come from"},
		{"secret in another form", "{env.TEST_HOOK_SECRET}", "{env.TEST_OX_SECRET}", "secret {env.TEST_OX_SECRET}: a secret is whsec_ and 24 to 64 bytes in base64"},
		{"empty secret", "{env.TEST_HOOK_SECRET}", "{env.TEST_NO_SUCH_VARIABLE}", "empty or cannot be read"},
		{"literal secret of our own signature", "{env.TEST_OX_SECRET}", "swordfish", "signature_header: a secret must come from"},
		{"literal secret in a header field", "X-Hook-Token {env.TEST_OX_SECRET}", "X-Hook-Token swordfish", "header X-Hook-Token: a secret must come from"},
		{"empty secret in a header field", "X-Hook-Token {env.TEST_OX_SECRET}", `Authorization "Bearer {env.TEST_NO_SUCH_VARIABLE}"`, "empty or cannot be read: {env.TEST_NO_SUCH_VARIABLE}"},
		{"a header field of ours", "header X-Hook-Token {env.TEST_OX_SECRET}", "header Webhook-Id x", "Webhook-Id cannot be set"},
		{"literal password", "content sender", "credentials alice swordfish", "credentials: a secret must come from"},
		{"method", "content sender", "method DELETE", "POST or PUT"},
		{"template that makes no JSON", "json .Subject", ".Subject", "is no JSON: write values as {{json .Subject}}"},
		{"field that is none", "json .Subject", "json .Body", "can't evaluate field Body"},
		{"function that is none", "json .Subject", "quote .Subject", `function "quote" not defined`},
		{"two templates", inline, inline + "\ntemplate_file " + file, "cannot be used together"},
		{"template in a file that makes no JSON", inline, "template_file " + file, "is no JSON"},
		{"template in a file that is empty", inline, "template_file " + empty, "is empty"},
		{"template in no file", inline, "template_file /no/such/file", "template_file: open /no/such/file"},
		{"certificate without authorities", "content sender", "ca_file " + file, "no certificate in"},
		{"no file of authorities", "content sender", "ca_file /no/such/file", "ca_file: open /no/such/file"},
		{"no client certificate", "content sender", "client_cert /no/such/file /no/such/key", "client_cert: "},
		{"name", "webhook chat", "webhook a.b", `the target name "a.b" must be 1 to 64`},
		{"two of one name", "deliver webhook chat", "deliver webhook chat http://x\ndeliver webhook chat", "two targets are named chat"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := validate(t, strings.Replace(goodWebhook, test.old, test.mistake, 1))
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
			for _, secret := range []string{"swordfish", "t0ken", "ox-secret", "MDEyMzQ"} {
				assert.NotContains(t, err.Error(), secret)
			}
		})
	}
}
