// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// output is what the demo prints; the page is looked at when the address is
// there.
type output struct {
	mu   sync.Mutex
	text strings.Builder
	page func()
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(b)
	if strings.Contains(string(b), "The page") {
		o.page()
	}
	return len(b), nil
}

// The demo shows what it says, and leaves nothing behind.
func TestDemo(t *testing.T) {
	binary := caddytestkit.Binary(t) // is made in TMPDIR
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	port, err := freeport.Get()
	require.NoError(t, err)
	out := new(output)
	d := demo{binary: binary, port: port, every: 10 * time.Millisecond, mails: 3, out: out}
	out.page = func() {
		resp, err := http.Get("http://localhost:" + strconv.Itoa(port) + "/push/")
		if assert.NoError(t, err) {
			assert.Equal(t, http.StatusOK, resp.StatusCode)
			resp.Body.Close()
		}
	}
	require.NoError(t, d.run(t.Context()))
	assert.Contains(t, out.text.String(), "mail 3 was delivered")
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
	_, err = net.DialTimeout("tcp", "localhost:"+strconv.Itoa(port), time.Second)
	assert.Error(t, err, "nothing listens any more")
}
