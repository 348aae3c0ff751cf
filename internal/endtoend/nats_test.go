// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// natsServer is a real nats-server with JetStream, built from the Go module.
type natsServer struct {
	t           *testing.T
	binary, dir string
	address     string
	cmd         *exec.Cmd
}

func startNATS(t *testing.T) *natsServer {
	t.Helper()
	n := &natsServer{t: t, dir: t.TempDir(), address: freeAddress(t)}
	n.binary = build(t, "github.com/nats-io/nats-server/v2")
	n.run()
	t.Cleanup(n.kill)
	return n
}

func (n *natsServer) run() {
	n.t.Helper()
	host, port, err := net.SplitHostPort(n.address)
	require.NoError(n.t, err)
	n.cmd = exec.Command(n.binary, "-js", "-sd", filepath.Join(n.dir, "store"), "-a", host, "-p", port, "--user", "nats", "--pass", "nats-secret")
	n.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(n.t, n.cmd.Start())
	require.Eventually(n.t, func() bool {
		conn, err := net.Dial("tcp", n.address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, waitTimeout, 10*time.Millisecond)
}

func (n *natsServer) kill() {
	_ = n.cmd.Process.Kill()
	_ = n.cmd.Wait()
}

// Two Caddys share a queue on a NATS server: either takes notifications in,
// each notification comes out once, and while the server is away the answer is
// 503 with Retry-After.
func TestQueueOnNATS(t *testing.T) {
	nats := startNATS(t)
	ox := startMiddleware(t)
	var fronts []*front
	for range 2 {
		f := newFront(t, ox.addr, "queue embedded {", "queue nats nats://"+nats.address+" {\ncredentials nats {env.NATS_PASSWORD}")
		f.Setenv("NATS_PASSWORD=nats-secret")
		f.start(t)
		fronts = append(fronts, f)
	}
	send := func(f *front, uid uint32) int {
		status, answer, err := put(http.DefaultClient, f.http, notification(uid))
		require.NoError(t, err)
		if status != http.StatusOK {
			assert.Contains(t, answer, `"success":false`)
		}
		return status
	}
	untilTaken := func(f *front, uid uint32) {
		require.Eventually(t, func() bool { return send(f, uid) == http.StatusOK }, waitTimeout, 50*time.Millisecond)
	}
	for uid := range uint32(20) {
		untilTaken(fronts[uid%2], uid+1)
	}
	ox.wait(20)

	nats.kill()
	assert.Equal(t, http.StatusServiceUnavailable, send(fronts[0], 21))
	nats.run()
	untilTaken(fronts[0], 21)
	untilTaken(fronts[1], 22)
	ox.wait(22)
	for _, f := range fronts {
		assert.NotContains(t, f.Log(), "nats-secret")
	}
	assert.Contains(t, strings.ToLower(fronts[0].Log()), "lost the connection to the nats server")
}

// Caddy starts while its NATS server is away, and takes notifications as soon
// as it is there.
func TestNATSComesLater(t *testing.T) {
	nats := startNATS(t)
	nats.kill()
	ox := startMiddleware(t)
	f := newFront(t, ox.addr, "queue embedded {", "queue nats nats://"+nats.address+" {\ncredentials nats {env.NATS_PASSWORD}")
	f.Setenv("NATS_PASSWORD=nats-secret")
	f.start(t)
	r, err := http.NewRequest(http.MethodPut, "http://"+f.http+notifyPath, strings.NewReader(notification(1)))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth(notifyUser, notifyPassword)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	assert.Equal(t, "1", resp.Header.Get("Retry-After"))
	assert.NotEmpty(t, resp.Header.Get("Date"), "Dovecot needs it to try again")
	nats.run()
	require.Eventually(t, func() bool {
		status, _, err := put(http.DefaultClient, f.http, notification(2))
		return err == nil && status == http.StatusOK
	}, waitTimeout, 50*time.Millisecond)
	ox.wait(1)
}
