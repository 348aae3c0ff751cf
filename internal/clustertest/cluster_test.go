// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package clustertest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

const (
	size = 3 // of the cluster, and as many Caddys
	// patience is how long nothing may happen that is waited for.
	patience = 90 * time.Second
	poll     = 50 * time.Millisecond

	notifyUser, notifyPassword = "dovecot", "notify-secret"
	queueUser, queuePassword   = "push", "push-secret"
	systemUser, systemPassword = "system", "system-secret"
	stream, target             = "dovecot_push", "receiver"
)

// cluster is three NATS servers, three Caddys that share them, and a receiver.
type cluster struct {
	t        testing.TB
	servers  []*server
	caddys   []*caddy
	history  *history
	receiver *receiver
	queue    jetstream.JetStream // as Caddy's user
	system   *nats.Conn          // as the user of the system account
	failed   map[string]bool     // nodes with a fault
}

// server is a NATS server that can be killed and started again.
type server struct {
	*node
	cluster     *cluster
	binary, dir string
	generation  int // how many servers there were before it at this node
	routes      []string
	cmd         *exec.Cmd
}

// caddy is a Caddy that can be killed and started again.
type caddy struct {
	*node
	*caddytestkit.Caddy
	cluster *cluster
	config  string
}

func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t}
	net := newNetwork(t)
	binary := filepath.Join(t.TempDir(), "nats-server")
	build := exec.Command("go", "build", "-o", binary, "github.com/nats-io/nats-server/v2") // the module that is also embedded
	build.Dir = caddytestkit.Repository()
	out, err := build.CombinedOutput()
	require.NoError(t, err, "building nats-server: %s", out)

	var urls, routes []string
	for n := range size {
		s := &server{cluster: c, node: net.add(fmt.Sprintf("n%d", n+1)), binary: binary, dir: t.TempDir()}
		c.servers = append(c.servers, s)
		urls = append(urls, "nats://"+s.addr+":4222")
		routes = append(routes, "nats://"+s.addr+":6222")
	}
	for _, s := range c.servers {
		s.routes = routes
		s.start()
		t.Cleanup(s.kill)
	}
	c.receiver = startReceiver(t)
	for n := range size {
		x := &caddy{cluster: c, node: net.add(fmt.Sprintf("c%d", n+1)), Caddy: caddytestkit.New(t, "NOTIFY_PASSWORD="+notifyPassword, "QUEUE_PASSWORD="+queuePassword)}
		x.Within(x.do, x.addr+":2019")
		x.config = fmt.Sprintf(caddyfile, strings.Join(urls, " "), c.receiver.url)
		c.caddys = append(c.caddys, x)
	}
	c.connect(strings.Join(urls, ","))
	for _, x := range c.caddys {
		x.start()
	}
	c.awaitHealth()
	return c
}

const caddyfile = `{
	auto_https off
	grace_period 2s
	dovecot_push {
		queue nats %s {
			credentials ` + queueUser + ` {env.QUEUE_PASSWORD}
			replicas 3
			max_bytes 64MiB
		}
		deliver webhook ` + target + ` %s
	}
}
http://:8080 {
	dovecot_push_notify {
		allow ` + subnet + `0/24
		credentials ` + notifyUser + ` {env.NOTIFY_PASSWORD}
	}
}
`

// connect gives the tests connections of their own.
func (c *cluster) connect(urls string) {
	c.t.Helper()
	dial := func(user, password string) *nats.Conn {
		nc, err := nats.Connect(urls, nats.UserInfo(user, password), nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1),
			nats.ReconnectWait(100*time.Millisecond), nats.PingInterval(time.Second), nats.MaxPingsOutstanding(2))
		require.NoError(c.t, err)
		c.t.Cleanup(nc.Close)
		return nc
	}
	c.system = dial(systemUser, systemPassword)
	var err error
	c.queue, err = jetstream.New(dial(queueUser, queuePassword))
	require.NoError(c.t, err)
}

// awaitHealth waits until all servers have all copies.
func (c *cluster) awaitHealth() {
	c.t.Helper()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for _, s := range c.servers {
		c.await("health of "+s.name, func() bool {
			resp, err := client.Get("http://" + s.addr + ":8222/healthz")
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
	}
	c.await("three copies", func() bool {
		s, err := c.queue.Stream(c.t.Context(), stream)
		if err != nil || s.CachedInfo().Cluster == nil {
			return false
		}
		replicas := s.CachedInfo().Cluster.Replicas
		return len(replicas) == size-1 && !slices.ContainsFunc(replicas, func(p *jetstream.PeerInfo) bool { return !p.Current || p.Offline })
	})
}

func (c *cluster) await(what string, is func() bool) {
	c.t.Helper()
	require.Eventually(c.t, is, patience, poll, what)
}

// left returns how many notifications the queue still has for the receiver.
func (c *cluster) left() (int, error) {
	all := 0
	for _, name := range []string{stream, stream + "_parked"} {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		consumer, err := c.queue.Consumer(ctx, name, target)
		cancel()
		if err != nil {
			return 0, err
		}
		info := consumer.CachedInfo()
		all += int(info.NumPending) + info.NumAckPending
	}
	return all, nil
}

// drain waits until the queue is empty, or nothing has changed for a long time.
func (c *cluster) drain() {
	c.t.Helper()
	before, changed := -1, time.Now()
	for time.Since(changed) < patience {
		left, err := c.left()
		if err == nil && left == 0 {
			return
		}
		if now := c.receiver.got() + left; now != before {
			before, changed = now, time.Now()
		}
		time.Sleep(poll)
	}
	left, err := c.left()
	require.NoError(c.t, err)
	c.history.waiting = left
}

// leader returns the server that writes to the stream, or nil if there has been none
// for a while.
func (c *cluster) leader() *server {
	for range 5 {
		ctx, cancel := context.WithTimeout(c.t.Context(), 2*time.Second)
		is, err := c.queue.Stream(ctx, stream)
		cancel()
		if err == nil && is.CachedInfo().Cluster != nil {
			for _, s := range c.servers {
				if s.serverName() == is.CachedInfo().Cluster.Leader {
					return s
				}
			}
		}
		time.Sleep(poll)
	}
	return nil
}

// awaitAccepted waits until each Caddy has accepted another mail.
func (c *cluster) awaitAccepted() {
	c.t.Helper()
	since := time.Now()
	for _, x := range c.caddys {
		c.await("200 of "+x.name, func() bool { return c.history.acceptedSince(x.name, since) })
	}
}

// remove makes the cluster forget a server that is gone.
func (c *cluster) remove(name string) {
	c.t.Helper()
	c.await("removal of a server", func() bool {
		reply, err := c.system.Request("$JS.API.SERVER.REMOVE", []byte(`{"peer":"`+name+`"}`), time.Second)
		return err == nil && (strings.Contains(string(reply.Data), `"success":true`) || strings.Contains(string(reply.Data), "10044")) // not a member
	})
}

// serverName is another one for each server that is added.
func (s *server) serverName() string { return fmt.Sprintf("%s-%d", s.name, s.generation) }

func (s *server) start() {
	s.t.Helper()
	config := fmt.Sprintf(`
server_name: %s
listen: "%s:4222"
http: "%s:8222"
jetstream { store_dir: %q }
cluster { name: mail, listen: "%s:6222", routes: ["%s"] }
system_account: SYSTEM
accounts {
	PUSH { jetstream: enabled, users: [{user: %s, password: %s}] }
	SYSTEM { users: [{user: %s, password: %s}] }
}
`, s.serverName(), s.addr, s.addr, s.store(), s.addr, strings.Join(s.routes, `", "`), queueUser, queuePassword, systemUser, systemPassword)
	path := filepath.Join(s.dir, "nats.conf")
	require.NoError(s.t, os.WriteFile(path, []byte(config), 0o600))
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	defer log.Close()
	s.cmd = exec.Command(s.binary, "-c", path)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.do(func() { err = s.cmd.Start() })
	require.NoError(s.t, err)
}

func (s *server) store() string { return filepath.Join(s.dir, "store") }

func (s *server) kill() {
	if s.cmd != nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

func (s *server) signal(sig syscall.Signal) { require.NoError(s.t, s.cmd.Process.Signal(sig)) }

func (x *caddy) start() {
	x.t.Helper()
	require.NoError(x.t, x.Run(x.config), x.Log())
}

func (x *caddy) signal(sig syscall.Signal) { require.NoError(x.t, syscall.Kill(x.PID(), sig)) }
