// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package option_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

func TestBlock(t *testing.T) {
	for text, problem := range map[string]string{
		"b {\nname x\nwait 30s\nsize 10MiB\nmany 3\non\nlist a b\nlist c\n}": "",
		"b":                      "",
		"b {\nnam x\n}":          `b does not know the option "nam"; it knows: name, wait, size, many, on, list`,
		"b {\nname x\nname y\n}": "b has the option name twice",
		"b {\nname\n}":           "wrong argument count",
		"b {\nname x y\n}":       "wrong argument count",
		"b {\nwait -1s\n}":       `wait must be a positive duration such as 30s, 10m or 1d, not "-1s"`,
		"b {\nsize many\n}":      `size must be a size such as 512KiB, 10MiB or 1GiB, not "many"`,
		"b {\nmany 0\n}":         "many must be at least 1",
		"b {\non off\n}":         "wrong argument count",
		"b {\nlist\n}":           "wrong argument count",
	} {
		var (
			name string
			wait caddy.Duration
			size int64
			many int
			on   bool
			list []string
		)
		d := caddyfile.NewTestDispenser(text)
		require.True(t, d.Next())
		err := option.Block(d, "b", option.String("name", &name), option.Duration("wait", &wait), option.Size("size", &size),
			option.Count("many", &many), option.Flag("on", &on), option.List("list", &list))
		if problem != "" {
			require.ErrorContains(t, err, problem, text)
			continue
		}
		require.NoError(t, err, text)
		if name != "" {
			assert.Equal(t, []any{"x", caddy.Duration(30 * time.Second), int64(10 << 20), 3, true, []string{"a", "b", "c"}},
				[]any{name, wait, size, many, on, list})
		}
	}
}

// No error shows a secret, and a secret is never taken from the configuration.
func TestSecret(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte("korrekt\n"), 0o600))
	t.Setenv("OPTION_TEST_SECRET", "horse")
	t.Setenv("OPTION_TEST_EMPTY", "")
	for from, want := range map[string]string{"{env.OPTION_TEST_SECRET}": "horse", "{file." + path + "}": "korrekt"} {
		secret, err := option.Secret(from)
		require.NoError(t, err)
		assert.Equal(t, want, secret)
	}
	for _, from := range []string{"horse", "", "{env.OPTION_TEST_EMPTY}", "{file./nowhere}", "Bearer {env.OPTION_TEST_SECRET}", "{vars.x}"} {
		_, err := option.Secret(from)
		require.Error(t, err, from)
		assert.NotContains(t, err.Error(), "horse")
	}
	value, err := option.Header("Authorization", "Bearer {env.OPTION_TEST_SECRET}")
	require.NoError(t, err)
	assert.Equal(t, "Bearer horse", value)
	for name, value := range map[string]string{"Authorization": "Bearer horse", "X-Api-Key": "horse {env.OPTION_TEST_NONE}"} {
		_, err = option.Header(name, value)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "horse")
	}
	value, err = option.Header("X-Key", `{{lookup "/etc/caddy/keys" .User}}`)
	require.NoError(t, err)
	assert.Equal(t, `{{lookup "/etc/caddy/keys" .User}}`, value)
	_, err = option.Header("X-Key", "horse{{.User}}")
	require.ErrorContains(t, err, "a secret must come from")

	value, err = option.Header("X-Team", "horse")
	require.NoError(t, err)
	assert.Equal(t, "horse", value)
}

func TestClientTLS(t *testing.T) {
	cfg, err := option.ClientTLS("", "", "")
	require.NoError(t, err)
	assert.Nil(t, cfg)
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, []byte("no certificate"), 0o600))
	for _, files := range [][3]string{{"", "cert", ""}, {"", "", "key"}, {"/nowhere", "", ""}, {path, "", ""}, {"", path, path}} {
		_, err = option.ClientTLS(files[0], files[1], files[2])
		require.Error(t, err, files)
	}
}
