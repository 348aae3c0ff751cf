// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTemplate(t *testing.T) {
	for text, want := range map[string]string{
		"user={user}":                         "user=alice@mail.example.com\t" + mark,
		"user={user.local}@1":                 "user=alice@1\t" + mark,
		"user={user.local}\tat={user.domain}": "user=alice\tat=mail.example.com\t" + mark,
		"user=everybody":                      "user=everybody\t" + mark,
	} {
		template, err := NewTemplate(text, nil)
		require.NoError(t, err, text)
		value, err := template.value("alice@mail.example.com")
		require.NoError(t, err)
		assert.Equal(t, want, value)
		assert.True(t, isOurs(value))
	}
	local, err := NewTemplate("user={user.local}@{user.domain}", nil)
	require.NoError(t, err)
	value, err := local.value("root")
	require.NoError(t, err)
	assert.Equal(t, "user=root@\t"+mark, value)
	value, err = defaultTemplate.value("a\tb\x01c")
	require.NoError(t, err)
	assert.Equal(t, "user=a\x01tb\x011c\t"+mark, value, "a name makes no fields")
}

func TestBadTemplate(t *testing.T) {
	for text, says := range map[string]string{
		"":                     "key=value",
		"{user}":               "key=value",
		"user=":                "no user=",
		"login={user}":         "no user=",
		"user={name}":          "{name}",
		"user={lookup}":        "need each other",
		"user={user}\t" + mark: "added automatically",
		"user={user}\tx":       "key=value",
	} {
		_, err := NewTemplate(text, nil)
		require.ErrorContains(t, err, says, text)
	}
}

func TestMark(t *testing.T) {
	for value, want := range map[string]bool{
		"": false, "user=a": false, "user=a\t" + mark: true, mark: true, mark + "\tuser=a": true,
		"user=" + mark: false, "user=a\t" + mark + "x": false, "user=a by=caddy-dovecot-push": false,
	} {
		assert.Equal(t, want, isOurs(value), value)
	}
}

func TestLookup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(file, []byte("# login id@context\n\nalice@example.com 3@1\n\tbob@example.com\t4@1\r\n"), 0o600))
	lookup, err := NewLookup(file)
	require.NoError(t, err)
	template, err := NewTemplate("user={lookup}", lookup)
	require.NoError(t, err)
	for user, want := range map[string]string{"alice@example.com": "3@1", "bob@example.com": "4@1"} {
		value, err := template.value(user)
		require.NoError(t, err)
		assert.Equal(t, "user="+want+"\t"+mark, value)
	}
	_, err = template.value("carol@example.com")
	require.ErrorIs(t, err, errNoValue)
	assert.NotContains(t, err.Error(), "carol")

	// A new line is found, and a file that is being written is not believed.
	require.NoError(t, os.WriteFile(file, []byte("carol@example.com 5@1\n"), 0o600))
	require.NoError(t, os.Chtimes(file, time.Time{}, time.Now().Add(time.Minute)))
	value, err := template.value("carol@example.com")
	require.NoError(t, err)
	assert.Equal(t, "user=5@1\t"+mark, value)
	require.NoError(t, os.WriteFile(file, []byte("carol@example.com\n"), 0o600))
	require.NoError(t, os.Chtimes(file, time.Time{}, time.Now().Add(2*time.Minute)))
	value, err = template.value("carol@example.com")
	require.NoError(t, err)
	assert.Equal(t, "user=5@1\t"+mark, value)

	_, err = NewLookup(file)
	require.ErrorContains(t, err, "line 1")
	_, err = NewLookup("/no/such/file")
	require.ErrorContains(t, err, "lookup file")
	_, err = NewTemplate("user={user}", lookup)
	require.ErrorContains(t, err, "need each other")
}

func TestNotInTheLookupFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "users")
	require.NoError(t, os.WriteFile(file, []byte("alice@example.com 3@1\n"), 0o600))
	lookup, err := NewLookup(file)
	require.NoError(t, err)
	template, err := NewTemplate("user={lookup}", lookup)
	require.NoError(t, err)
	m := newMemory(alice, "bob@example.com")
	f := newFixture(t, m, Config{Policy: All, Value: template})
	f.onePass(t)
	assert.Equal(t, "user=3@1\t"+mark, m.value(alice))
	reg, err := f.Registration(t.Context(), "bob@example.com")
	require.NoError(t, err)
	assert.Equal(t, Failed, reg.State)
	assert.Equal(t, ReasonNoValue, reg.Reason)
	assert.Empty(t, f.Status().Outage)
}
