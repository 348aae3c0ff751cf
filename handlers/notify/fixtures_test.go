// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// What real Dovecots sent, byte for byte over one connection, is taken, and
// stored as it came; what was no valid JSON is, without its stray quote.
func TestFixtures(t *testing.T) {
	repaired := make(chan struct{}, 10)
	e := serve(t, func(h *Handler) {
		h.Credentials, h.Unauthenticated = nil, true
		h.Repaired = func() { repaired <- struct{}{} }
	})
	c := e.dial(t)
	paths, err := filepath.Glob(filepath.FromSlash("../../internal/notification/testdata/fixtures/*/*.http"))
	require.NoError(t, err)
	require.Greater(t, len(paths), 150)
	lua, invalid := 0, 0
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		require.NoError(t, err, path)
		sent, err := io.ReadAll(r.Body)
		require.NoError(t, err, path)

		// The requests of Lua scripts have another shape, and are no PUTs.
		want := Accepted
		if r.Method != http.MethodPut {
			lua++
			want = UnusedEvent
			raw = append([]byte(http.MethodPut), raw[len(r.Method):]...)
		}
		stored := len(e.store.records)
		_, err = c.Write(raw)
		require.NoError(t, err)
		res := c.answer(t)
		require.Equal(t, 200, res.StatusCode, path)
		require.False(t, res.Close, path)
		require.Equal(t, want, e.result(t), path)
		if want == UnusedEvent {
			require.Len(t, e.store.records, stored)
			continue
		}
		record := e.store.records[stored]
		if json.Valid(sent) {
			require.Equal(t, sent, record.Body, path)
			require.Empty(t, repaired, path)
		} else {
			require.True(t, json.Valid(record.Body), "%s: %s", path, record.Body)
			require.Len(t, record.Body, len(sent)-1, path)
			<-repaired
			invalid++
		}
		n, err := new(notification.Decoder).Decode(sent)
		require.NoError(t, err)
		id, window := n.Identity(sent, r.Header.Get("Date"))
		require.Equal(t, id, record.ID, path)
		require.Equal(t, window, e.store.windows[stored], path)
		require.NotZero(t, window)
		require.NotEqual(t, notification.Identity{}, id)
	}
	require.Positive(t, lua)
	require.Positive(t, invalid)
}
