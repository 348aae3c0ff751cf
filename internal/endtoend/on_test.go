// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// mailServers are the ways to install Dovecot that docs/on has a page for: the
// directory in testdata/on with its files in /etc/dovecot, and where the file is
// there that the page lets the command write.
var mailServers = []struct {
	page, layout string
	version      dovecottest.Version
	file         string
	protocol     string // that delivers mail
}{
	{"mailcow", "mailcow", "2.3", "/etc/dovecot/extra.conf", "lmtp"},
	{"docker-mailserver", "docker-mailserver", "2.3", "/etc/dovecot/local.conf", "lmtp"},
	{"mail-in-a-box", "mail-in-a-box", "2.3", "/etc/dovecot/conf.d/99-push.conf", "lmtp"},
	{"iredmail", "iredmail", "2.3", "/etc/dovecot/iredmail/99-push.conf", "lmtp"},
	{"iredmail", "iredmail-2.4", "2.4", "/etc/dovecot/iredmail/99-push.conf", "lmtp"},
	{"modoboa", "modoboa-2.3", "2.3", "/etc/dovecot/conf.d/99-push.conf", "lmtp"},
	{"modoboa", "modoboa", "2.4", "/etc/dovecot/conf.d/99-push.conf", "lmtp"},
	{"mailu", "mailu", "2.3", "/overrides/dovecot.conf", "lmtp"},
	{"yunohost", "yunohost-2.3", "2.3", "/etc/dovecot/yunohost.d/post-ext.d/push.conf", "lda"},
	{"yunohost", "yunohost", "2.4", "/etc/dovecot/yunohost.d/post-ext.d/push.conf", "lda"},
	{"openexchange", "openexchange", "2.3", "/etc/dovecot/conf.d/99-push.conf", "lmtp"},
}

// What the command of each page prints, where the page puts it, is read by
// Dovecot with the files of that mail server: the driver is there, the plugins
// are loaded where mail is delivered, and none of those before is missing.
func TestOnMailServers(t *testing.T) {
	t.Parallel()
	c := caddytestkit.New(t)
	require.NoError(t, writeFile(c.Dir, "notify-password", "secret\n"))
	require.NoError(t, writeFile(c.Dir, "doveadm-secret", "key\n"))
	printed := regexp.MustCompile(`(?s)(dovecot-push dovecot-config --dovecot .*?)>+ (\S+?)\)?[ \n]`)
	pages, err := filepath.Glob(filepath.Join(caddytestkit.Repository(), "docs", "on", "*.md"))
	require.NoError(t, err)
	seen := make(map[string]bool)
	for _, server := range mailServers {
		seen[server.page+".md"] = true
		t.Run(server.layout, func(t *testing.T) {
			m := printed.FindStringSubmatch(read(t, "docs", "on", server.page+".md"))
			require.NotNil(t, m)
			assert.Equal(t, filepath.Ext(server.file), strings.Replace(filepath.Ext(m[2]), ".cf", ".conf", 1)[:5])
			command := regexp.MustCompile(`--dovecot 2\.\d`).ReplaceAllString(m[1], "--dovecot "+string(server.version))
			command = strings.NewReplacer("\\\n", " ", "/etc/caddy/", c.Dir+"/").Replace(command)
			config, err := c.Command(strings.Fields(command)...)
			require.NoError(t, err, config)

			files := layoutOf(t, server.layout)
			doveconf := func(args ...string) string {
				out, err := dovecottest.Doveconf(t.Context(), server.version, files, args...)
				if errors.Is(err, dovecottest.ErrNoSuchVersion) {
					t.Skip(err)
				}
				require.NoError(t, err, out)
				return out
			}
			plugins := func() []string {
				_, words, _ := strings.Cut(doveconf("-x", "-f", "protocol="+server.protocol, "mail_plugins"), "mail_plugins")
				var names []string
				for name := range strings.FieldsFuncSeq(words, func(r rune) bool { return strings.ContainsRune(" \n={}", r) }) {
					if name != "yes" {
						names = append(names, name)
					}
				}
				return names
			}
			before := plugins()
			require.NotEmpty(t, before)
			files[server.file] = config
			after := plugins()
			assert.Subset(t, after, append(before, "notify", "push_notification"))
			all := doveconf("-n", "-P")
			assert.Regexp(t, `(push_notification_driver = ox:url=|ox_url = )https?://dovecot:secret@`, all)
			assert.Regexp(t, `mail_attribute(_dict| \{)`, all)
			if strings.Contains(command, "--doveadm-key-file") {
				assert.Regexp(t, `inet_listener http \{[^}]*port = 8080`, all)
				assert.Contains(t, all, "doveadm_api_key = key")
			}
		})
	}
	for _, page := range pages {
		assert.True(t, seen[filepath.Base(page)], "%s is not tested", page)
	}
}

// layoutOf are the files of a directory in testdata/on, as in /etc/dovecot.
func layoutOf(t *testing.T, name string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	dir := os.DirFS(filepath.Join("testdata", "on", name))
	require.NoError(t, fs.WalkDir(dir, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(dir, path)
		files["/etc/dovecot/"+path] = string(content)
		return err
	}))
	require.NotEmpty(t, files)
	return files
}
