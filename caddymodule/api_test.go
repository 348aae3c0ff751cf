// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/certmagic"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// goodAPI is a configuration without a mistake. Each test makes one.
const goodAPI = `{
	skip_install_trust
	dovecot_push {
		queue embedded {
			path QUEUE
		}
		deliver middleware {
			reverse_proxy ox1:8009
		}
	}
}
http://127.0.0.1:18008 {
	dovecot_push_api /push {
		login imap imaps://imap.example.com
		webmail_url https://mail.example.com
	}
}
`

func TestMistakesInAPI(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	for _, test := range []struct{ name, old, mistake, want string }{
		{"none", "", "", ""},
		{"none with caddy", "login imap imaps://imap.example.com", "login caddy", ""},
		{"none for the whole site", "/push {", "/* {", ""},
		{"none with a path to the webmail", "https://mail.example.com\n", "/webmail/\n", ""},
		{"the server of the app", "deliver middleware {", "imap imaps://imap.example.com\nregister off\ndeliver middleware {", ""},
		{"no server", "login imap imaps://imap.example.com", "login imap", "no IMAP server to check logins at"},
		{"another protocol", "imaps://imap.example.com", "ldap://imap.example.com", "imaps://"},
		{"a password in the URL", "imaps://imap.example.com", "imaps://u:swordfish@imap.example.com", "cannot hold a login"},
		{"a placeholder that is empty", "imaps://imap.example.com", "{env.NO_SUCH_VARIABLE}", "login imap: URL"},
		{"a CA file that is not there", "imaps://imap.example.com", "imaps://imap.example.com {\nca_file /no/such/file\n}", "/no/such/file"},
		{"a path with a wildcard", "/push {", "/push/*/x {", "one plain path"},
		{"a path with dots", "/push {", "/push/../x {", "one plain path"},
		{"a link that runs a script", "https://mail.example.com\n", "javascript:alert(1)\n", "webmail_url must be"},
		{"a link that is none", "https://mail.example.com\n", "mail.example.com\n", "webmail_url must be"},
		{"none with all of the page", "https://mail.example.com\n", "/webmail\nhelp_url https://example.com/help\npassword_url /password\nprivacy_url /privacy\nimprint_url /imprint\ntheme {\naccent \"#8a1c5c\"\nlogo /logo.svg\n}\n", ""},
		{"help that runs a script", "https://mail.example.com\n", "/webmail\nhelp_url javascript:alert(1)\n", "help_url must be"},
		{"a new password from nowhere", "https://mail.example.com\n", "/webmail\npassword_url password\n", "password_url must be"},
		{"privacy by mail", "https://mail.example.com\n", "/webmail\nprivacy_url mailto:privacy@example.com\n", "privacy_url must be"},
		{"an imprint in a file", "https://mail.example.com\n", "/webmail\nimprint_url file:///imprint\n", "imprint_url must be"},
		{"a colour by its name", "https://mail.example.com\n", "/webmail\ntheme {\naccent teal\n}\n", "not a colour such as #0b6b63"},
		{"a logo from elsewhere", "https://mail.example.com\n", "/webmail\ntheme {\nlogo https://example.com/logo.svg\n}\n", "logo must be a path of this site"},
		{"a logo from a host behind a backslash", "https://mail.example.com\n", "/webmail\ntheme {\nlogo /\\example.com/logo.svg\n}\n", "logo must be a path of this site"},
		{"a logo from a host without scheme", "https://mail.example.com\n", "/webmail\ntheme {\nlogo //example.com/logo.svg\n}\n", "logo must be a path of this site"},
		{"none with a mail", "https://mail.example.com\n", "https://mail.example.com/?u={user}&mbox={folder}&uid={uid}\n", ""},
		{"a placeholder that nobody knows", "https://mail.example.com\n", "https://mail.example.com/{message_id}\n", "{message_id}"},
		{"another host for each user", "https://mail.example.com\n", "https://{user}.example.com/\n", "in the path, the query and the fragment only"},
		{"a target with the name of the streams", "deliver middleware {", "deliver middleware events {", "a target is named events"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := validate(t, strings.Replace(goodAPI, test.old, test.mistake, 1))
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
			assert.NotContains(t, err.Error(), "swordfish")
		})
	}
	err := validate(t, "http://127.0.0.1:18008 {\ndovecot_push_api {\nlogin caddy\n}\n}\n")
	require.ErrorContains(t, err, "needs the global option dovecot_push")
}

// What is below the path is served, whatever came before it in the URL; what is
// not goes on.
func TestAPIPaths(t *testing.T) {
	served := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(r.URL.Path)) })
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	})
	for _, test := range []struct {
		path, request, want string
		status              int
	}{
		{"/push", "/push/", "/", http.StatusOK},
		{"/push", "/push/api/config", "/api/config", http.StatusOK},
		{"/push", "/push/%61pi/session", "/api/session", http.StatusOK},
		{"/push", "/pushx", "", http.StatusTeapot},
		{"/push", "/pus", "", http.StatusTeapot},
		{"/push", "/", "", http.StatusTeapot},
		{"/a/b", "/a/b/sw.js", "/sw.js", http.StatusOK},
		{"", "/sw.js", "/sw.js", http.StatusOK},
		{"", "/", "/", http.StatusOK},
	} {
		a := &API{Path: test.path, handler: served}
		w := httptest.NewRecorder()
		require.NoError(t, a.ServeHTTP(w, httptest.NewRequest(http.MethodGet, test.request, nil), next))
		assert.Equal(t, test.status, w.Code, test.request)
		assert.Equal(t, test.want, w.Body.String(), test.request)
	}
	w := httptest.NewRecorder()
	require.NoError(t, (&API{Path: "/mail/push", handler: served}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/mail/push?x", nil), next))
	assert.Equal(t, http.StatusPermanentRedirect, w.Code)
	assert.Equal(t, "push/", w.Header().Get("Location"), "relative, so that it leads there from below any path")
}

// All Caddys with one storage have one key, and it stays.
func TestSessionKey(t *testing.T) {
	dir := t.TempDir()
	storage := &certmagic.FileStorage{Path: dir}
	keys := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			key, err := newSessionKey(storage).get(context.Background())
			assert.NoError(t, err)
			keys[i] = key
		})
	}
	wg.Wait()
	for _, key := range keys {
		assert.Equal(t, keys[0], key)
		assert.Len(t, key, sharedKeySize)
	}
	path := filepath.Join(dir, filepath.FromSlash(sessionKeyFile))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Zero(t, info.Mode().Perm()&0o077, "nobody else may read it")

	require.NoError(t, os.WriteFile(path, []byte("short"), 0o600))
	_, err = newSessionKey(storage).get(t.Context())
	require.ErrorContains(t, err, "is not a key")
	require.NoError(t, os.Remove(path))
	key, err := newSessionKey(storage).get(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, keys[0], key, "signs everybody out")
}
