// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/targettest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

func TestSlug(t *testing.T) {
	for text, want := range map[string]string{
		"alice@example.com": "alice-example-com", "INBOX": "inbox", "  a  b ": "a-b", "": "", "@@": "", "Grüße": "gr-e", "a/../b": "a-b",
		strings.Repeat("x", 100): strings.Repeat("x", 64), "\x00\xff": "", "a-_-b": "a-b",
	} {
		assert.Equal(t, want, slug(text), text)
		assert.Regexp(t, `^[a-z0-9-]{0,64}$`, slug(text))
	}
}

func TestDigest(t *testing.T) {
	// printf 'key\0alice@example.com\0' | sha256sum | cut -c 1-32
	assert.Equal(t, "d120b66316734ac7ec9692e2fb08c448", digest("key", "alice@example.com"))
	assert.NotEqual(t, digest("a", "b"), digest("ab"))
	assert.NotEqual(t, digest("a", "b"), digest("a\x00b", ""))
}

// A table has the values of its lines; it is read again when it has changed, and
// one that has gone keeps what it had.
func TestLookup(t *testing.T) {
	file := filepath.Join(t.TempDir(), "topics")
	write := func(text string) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		// The clock of a file system may be too coarse for two writes.
		require.NoError(t, os.Chtimes(file, time.Time{}, time.Now().Add(time.Duration(len(text))*time.Second)))
	}
	var all tables
	_, err := all.lookup(file, "alice")
	require.ErrorContains(t, err, file)

	write("# people\n\nAlice  one\nbob\ttwo words \n")
	for key, want := range map[string]string{"alice": "one", "ALICE": "one", "bob": "two words", "carol": "", "#": "", "": ""} {
		got, err := all.lookup(file, key)
		require.NoError(t, err)
		assert.Equal(t, want, got, key)
	}
	write("alice three\n")
	got, err := all.lookup(file, "alice")
	require.NoError(t, err)
	assert.Equal(t, "three", got)

	for _, gone := range []func(){func() { write("alice\n") }, func() { require.NoError(t, os.Remove(file)) }} {
		gone()
		got, err := all.lookup(file, "alice")
		require.NoError(t, err)
		assert.Equal(t, "three", got)
	}
	write("alice\n")
	_, err = new(tables).lookup(file, "alice")
	assert.ErrorContains(t, err, "line 1 has no value")
}

// One webhook serves many users, each with their own topic and key; a mail of
// somebody who is not in the file is not sent, and is no failure.
func TestTableOfUsers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	record := targettest.Record()
	n, err := new(notification.Decoder).Decode(record.Body)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(n.User+" secret-key\n"), 0o600))
	r := startReceiver(t)
	target := newTarget(t, Config{
		URL: r.URL, Template: `{{with lookup "` + file + `" .User}}{"topic":{{json (slug $.User)}}}{{else}}{{skip}}{{end}}`,
		Templates: map[string]string{"X-Key": `{{lookup "` + file + `" .User}}`},
	})
	result := target.Deliver(t.Context(), record)
	require.Equal(t, delivery.Delivered, result.Outcome, result.Err)
	require.Len(t, r.got, 1)
	assert.Equal(t, "secret-key", r.got[0].header.Get("X-Key"))
	assert.JSONEq(t, `{"topic":"`+slug(n.User)+`"}`, string(r.got[0].body))

	require.NoError(t, os.WriteFile(file, []byte("somebody-else key\n"), 0o600))
	result = target.Deliver(t.Context(), record)
	assert.Equal(t, delivery.Delivered, result.Outcome, result.Err)
	assert.Equal(t, "skipped", result.Reason)
	assert.Len(t, r.got, 1, "nothing was sent")
}

// What a sender wrote cannot end a header field.
func TestHeaderOfTemplate(t *testing.T) {
	r := startReceiver(t)
	target := newTarget(t, Config{URL: r.URL, Templates: map[string]string{"X-Title": "{{.User}}{{if .Unseen}}\r\nX-Other: 1{{end}}"}})
	result := target.Deliver(t.Context(), targettest.Record())
	assert.Equal(t, delivery.Refused, result.Outcome)
	assert.Equal(t, "template", result.Reason)
	assert.Empty(t, r.got)
	_, err := New(Config{URL: r.URL, Header: http.Header{}, Templates: map[string]string{"Host": "{{.User}}"}, Decoder: new(notification.Decoder)})
	require.ErrorContains(t, err, "cannot be set")
	_, err = New(Config{URL: r.URL, Templates: map[string]string{"X-A": "{{.Nope}}"}, Decoder: new(notification.Decoder)})
	require.ErrorContains(t, err, "header X-A")
}
