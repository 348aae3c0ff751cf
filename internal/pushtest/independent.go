// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

// Independent is a push service that was not made here: web-push-testing, a
// package for Node.js. It checks the VAPID token with jsonwebtoken and decrypts
// with http_ece. It speaks HTTP/1.1 without TLS.
type Independent struct {
	// Origin is scheme, host and port of its endpoints.
	Origin string

	t testing.TB
}

// Subscription is what a browser would tell.
type Subscription struct {
	Endpoint string
	Keys     struct{ P256DH, Auth string }

	ClientHash string
}

// StartIndependent starts the service, which ends with the test. It fails the
// test if Node.js or the package is missing: install.sh gets them.
func StartIndependent(t testing.TB) *Independent {
	t.Helper()
	dir := filepath.Join(caddytestkit.Repository(), "internal", "pushtest", "independent")
	_, err := os.Stat(filepath.Join(dir, "node_modules", "web-push-testing"))
	require.NoError(t, err, "the npm packages of the tests are not installed: run internal/pushtest/install.sh, or make test")

	l, err := net.Listen("tcp", "localhost:0")
	require.NoError(t, err)
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	require.NoError(t, l.Close())
	var log bytes.Buffer
	cmd := exec.Command("node", "serve.cjs", port)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	pipe, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start(), "Node.js is needed: run internal/pushtest/install.sh, or make test")
	t.Cleanup(func() {
		_ = pipe.Close()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("what the push service printed:\n%s", log.Bytes())
		}
	})
	s := &Independent{Origin: "http://localhost:" + port, t: t}
	require.Eventually(t, func() bool {
		resp, err := http.Post(s.Origin+"/status", "", nil)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return true
	}, waitTimeout, 10*time.Millisecond, "the push service does not start")
	return s
}

// Subscribe makes a subscription for the server with this VAPID key.
func (s *Independent) Subscribe(serverKey string) Subscription {
	s.t.Helper()
	var answer struct{ Data Subscription }
	s.call("/subscribe", map[string]string{"userVisibleOnly": "true", "applicationServerKey": serverKey}, &answer)
	return answer.Data
}

// Messages returns what has come for a subscription, decrypted.
func (s *Independent) Messages(sub Subscription) []string {
	s.t.Helper()
	var answer struct{ Data struct{ Messages []string } }
	s.call("/get-notifications", map[string]string{"clientHash": sub.ClientHash}, &answer)
	return answer.Data.Messages
}

// Unsubscribe ends a subscription.
func (s *Independent) Unsubscribe(sub Subscription) {
	s.t.Helper()
	s.call("/expire-subscription/"+sub.ClientHash, struct{}{}, nil)
}

func (s *Independent) call(path string, body, answer any) {
	s.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(s.t, err)
	resp, err := http.Post(s.Origin+path, "application/json", bytes.NewReader(text))
	require.NoError(s.t, err)
	defer resp.Body.Close()
	out, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, resp.StatusCode, "%s", out)
	if answer != nil {
		require.NoError(s.t, json.Unmarshal(out, answer), "%s", out)
	}
}
