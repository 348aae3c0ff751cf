// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// natsServer is the real thing, built once from the module that is also
// embedded.
var natsServer natsBinary

type natsBinary struct {
	build sync.Once
	dir   string
	path  string
	err   error

	start    sync.Once
	proc     *natsProcess
	startErr error
}

func (b *natsBinary) binary(t testing.TB) string {
	t.Helper()
	b.build.Do(func() {
		if b.dir, b.err = os.MkdirTemp("", "nats-server"); b.err != nil {
			return
		}
		b.path = filepath.Join(b.dir, "nats-server")
		out, err := exec.Command("go", "build", "-o", b.path, "github.com/nats-io/nats-server/v2").CombinedOutput()
		if err != nil {
			b.err = fmt.Errorf("building nats-server: %w: %s", err, out)
		}
	})
	require.NoError(t, b.err)
	return b.path
}

// shared returns the URL of a server that all tests use.
func (b *natsBinary) shared(t testing.TB) string {
	t.Helper()
	path := b.binary(t)
	b.start.Do(func() {
		b.proc = &natsProcess{path: path, dir: b.dir, addr: freeAddr(t)}
		b.startErr = b.proc.start()
	})
	require.NoError(t, b.startErr)
	return b.proc.url()
}

func (b *natsBinary) remove() {
	if b.proc != nil {
		b.proc.kill()
	}
	if b.dir != "" {
		_ = os.RemoveAll(b.dir)
	}
}

// natsProcess is a server that can be killed and started again on the same
// files and address.
type natsProcess struct {
	path, dir, addr string
	options         []string
	cmd             *exec.Cmd
}

// newNATSServer returns a server of the test's own that is not started yet.
func newNATSServer(t testing.TB, options ...string) *natsProcess {
	t.Helper()
	p := &natsProcess{path: natsServer.binary(t), dir: t.TempDir(), addr: freeAddr(t), options: options}
	t.Cleanup(p.kill)
	return p
}

func (p *natsProcess) url() string { return "nats://" + p.addr }

func (p *natsProcess) start() error {
	host, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		return err
	}
	args := append([]string{"-js", "-sd", filepath.Join(p.dir, "jetstream"), "-a", host, "-p", port}, p.options...)
	p.cmd = exec.Command(p.path, args...)
	log, err := os.OpenFile(filepath.Join(p.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", p.addr)
		if err == nil {
			return conn.Close()
		}
		if time.Now().After(deadline) {
			out, _ := os.ReadFile(log.Name())
			return fmt.Errorf("nats-server did not start: %w: %s", err, out)
		}
	}
}

// stop ends the server as its operator does.
func (p *natsProcess) stop(t testing.TB) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(os.Interrupt))
	_ = p.cmd.Wait()
}

// snapshot keeps the accepted notifications of the server, which is stopped. restore
// gives it those in place of what it has then, and nothing else of that time.
func (p *natsProcess) snapshot(t testing.TB) (restore func()) {
	t.Helper()
	messages := filepath.Join(p.dir, "jetstream", "jetstream", "$G", "streams", "dovecot_push", "msgs")
	kept := filepath.Join(t.TempDir(), "msgs")
	require.NoError(t, os.CopyFS(kept, os.DirFS(messages)))
	return func() {
		t.Helper()
		require.NoError(t, os.RemoveAll(messages))
		require.NoError(t, os.CopyFS(messages, os.DirFS(kept)))
	}
}

// kill ends the server as a power cut would end its process.
func (p *natsProcess) kill() {
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

func freeAddr(t testing.TB) string {
	t.Helper()
	addr, err := freeport.Address()
	require.NoError(t, err)
	return addr
}
