// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const fixtureDir = "testdata/fixtures"

// request is a request that a real Dovecot sent.
type request struct {
	name string // like "2.4.1/01-plain-ascii.http"
	date string
	body []byte
}

// fixture reads one request as it came over the wire.
func fixture(tb testing.TB, name string) request {
	tb.Helper()
	raw, err := os.ReadFile(filepath.Join(fixtureDir, filepath.FromSlash(name)))
	require.NoError(tb, err)
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	require.NoError(tb, err, name)
	body, err := io.ReadAll(r.Body)
	require.NoError(tb, err, name)
	require.Len(tb, body, int(r.ContentLength), name)
	require.True(tb, bytes.HasSuffix(raw, append([]byte("\r\n\r\n"), body...)), "%s is more than one request", name)
	return request{name: name, date: r.Header.Get("Date"), body: body}
}

// fixtures reads them all.
func fixtures(tb testing.TB) []request {
	tb.Helper()
	paths, err := filepath.Glob(filepath.Join(fixtureDir, "*", "*"))
	require.NoError(tb, err)
	require.Greater(tb, len(paths), 150)
	all := make([]request, len(paths))
	for i, path := range paths {
		name, err := filepath.Rel(fixtureDir, path)
		require.NoError(tb, err)
		all[i] = fixture(tb, filepath.ToSlash(name))
	}
	return all
}

// withSubject returns a body like Dovecot's with this subject.
func withSubject(subject string) []byte {
	quoted, _ := json.Marshal(subject)
	return []byte(strings.Replace(small, `"s"`, string(quoted), 1))
}

// small is a body like Dovecot's, from which others are made.
const small = `{"user":"u@example.com","event":"messageNew","folder":"INBOX","imap-uidvalidity":3,"imap-uid":4,"from":"f","subject":"s","snippet":"t","unseen":5}`
