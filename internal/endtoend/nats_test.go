// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"fmt"
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
	options     []string
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

// startNATSCluster starts a cluster of three servers.
func startNATSCluster(t *testing.T) []*natsServer {
	t.Helper()
	binary := build(t, "github.com/nats-io/nats-server/v2")
	var routes []string
	for range 3 {
		routes = append(routes, "nats://"+freeAddress(t))
	}
	all := make([]*natsServer, len(routes))
	for i, route := range routes {
		all[i] = &natsServer{t: t, binary: binary, dir: t.TempDir(), address: freeAddress(t), options: []string{
			"--name", fmt.Sprint("n", i), "--cluster_name", "test", "--cluster", route, "--routes", strings.Join(routes, ","),
		}}
		all[i].run()
		t.Cleanup(all[i].kill)
	}
	return all
}

func (n *natsServer) run() {
	n.t.Helper()
	host, port, err := net.SplitHostPort(n.address)
	require.NoError(n.t, err)
	args := append([]string{"-js", "-sd", filepath.Join(n.dir, "store"), "-a", host, "-p", port, "--user", "nats", "--pass", "nats-secret"}, n.options...)
	n.cmd = exec.Command(n.binary, args...)
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
	t.Parallel()
	nats := startNATS(t)
	ox := startMiddleware(t)
	fronts := twoFronts(t, ox, "nats://"+nats.address+" {\ndurability any")
	for uid := range uint32(20) {
		fronts[uid%2].untilTaken(t, uid+1)
	}
	ox.wait(20)

	nats.kill()
	assert.Equal(t, http.StatusServiceUnavailable, fronts[0].send(t, 21))
	nats.run()
	fronts[0].untilTaken(t, 21)
	fronts[1].untilTaken(t, 22)
	ox.waitForAll(t, 22)
	for _, f := range fronts {
		assert.NotContains(t, f.Log(), "nats-secret")
	}
	assert.Contains(t, strings.ToLower(fronts[0].Log()), "lost the connection to the nats server")
}

// The queue of two Caddys is on three servers. Each of them is killed in turn,
// the leader among them: both go on with the other two.
func TestQueueOnCluster(t *testing.T) {
	t.Parallel()
	servers := startNATSCluster(t)
	ox := startMiddleware(t)
	var urls []string
	for _, n := range servers {
		urls = append(urls, "nats://"+n.address)
	}
	fronts := twoFronts(t, ox, strings.Join(urls, " ")+" {\nreplicas 3")
	uid := uint32(0)
	some := func() {
		for range 10 {
			uid++
			fronts[uid%2].untilTaken(t, uid)
		}
	}
	some()
	for _, n := range servers {
		n.kill()
		some()
		n.run()
		some()
	}
	ox.waitForAll(t, int(uid))
}

// waitForAll waits for n mails. What was on its way to a server that was killed may
// come twice.
func (m *middleware) waitForAll(t *testing.T, n int) {
	t.Helper()
	taken := make(map[uint32]bool)
	require.Eventually(t, func() bool {
		for _, n := range decode(t, m.got()) {
			taken[n.UID] = true
		}
		return len(taken) == n
	}, waitTimeout, 50*time.Millisecond)
}

// twoFronts starts two Caddys with the same queue on NATS.
func twoFronts(t *testing.T, ox *middleware, queue string) (fronts []*front) {
	t.Helper()
	for range 2 {
		f := newFront(t, ox.addr, "queue embedded {", "queue nats "+queue+"\ncredentials nats {env.NATS_PASSWORD}")
		f.Setenv("NATS_PASSWORD=nats-secret")
		f.start(t)
		fronts = append(fronts, f)
	}
	return fronts
}

// send reports a mail, and returns the status of the answer.
func (f *front) send(t *testing.T, uid uint32) int {
	t.Helper()
	status, answer, err := put(http.DefaultClient, f.http, notification(uid))
	require.NoError(t, err)
	if status != http.StatusOK {
		assert.Contains(t, answer, `"success":false`)
	}
	return status
}

// untilTaken does so until it is taken.
func (f *front) untilTaken(t *testing.T, uid uint32) {
	t.Helper()
	require.Eventually(t, func() bool { return f.send(t, uid) == http.StatusOK }, waitTimeout, 50*time.Millisecond)
}

// Caddy starts while its NATS server is away, and takes notifications as soon
// as it is there.
func TestNATSComesLater(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	nats.kill()
	ox := startMiddleware(t)
	f := newFront(t, ox.addr, "queue embedded {", "queue nats nats://"+nats.address+" {\ndurability any\ncredentials nats {env.NATS_PASSWORD}")
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
