// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package caddytestkit starts a real Caddy with the modules of this repository
// for tests and benchmarks: the process, not a part of it. The server has its
// own data directory and admin address, and ends with the test.
package caddytestkit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// startTimeout is how long Caddy may take to start. The race detector and a
// busy machine make it slow.
const startTimeout = 60 * time.Second

// commandTimeout is how long a command may take: some look at all users.
const commandTimeout = 5 * time.Minute

// Caddy is a running Caddy.
type Caddy struct {
	// Dir is its own directory; data and configuration are below it.
	Dir string
	// Admin is the address of its admin API.
	Admin string

	binary  string
	env     []string
	within  func(start func())
	sockets []*os.File
	log     *os.File

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

// Start starts Caddy with the given Caddyfile and waits until it serves. It
// fails the test if it does not, with Caddy's log. env is added to the
// environment, as NAME=value.
func Start(t testing.TB, caddyfile string, env ...string) *Caddy {
	t.Helper()
	c := New(t, env...)
	if err := c.Run(caddyfile); err != nil {
		t.Fatalf("starting Caddy: %v\n%s", err, c.Log())
	}
	return c
}

// New prepares a Caddy without starting it; see [Caddy.Run]. Its process ends
// with the test.
func New(t testing.TB, env ...string) *Caddy {
	t.Helper()
	c, err := Prepare(Binary(t), t.TempDir(), env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Kill()
		for _, f := range c.sockets {
			_ = f.Close()
		}
		if t.Failed() {
			const enough = 16 << 10
			log := c.Log()
			t.Logf("end of the log of Caddy:\n%s", log[max(0, len(log)-enough):])
		}
		_ = c.log.Close()
	})
	return c
}

// Prepare is [New] for programs that are no tests: the caller ends the
// process with [Caddy.Kill].
func Prepare(binary, dir string, env ...string) (*Caddy, error) {
	port, err := freeport.Get()
	if err != nil {
		return nil, err
	}
	c := &Caddy{Dir: dir, Admin: "127.0.0.1:" + strconv.Itoa(port), binary: binary}
	// The processes write to the file without a copy in between: what Caddy
	// logged before it answered can be read as soon as the answer is there.
	if c.log, err = os.OpenFile(filepath.Join(dir, "caddy.log"), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
		return nil, err
	}
	// A Caddy that was built with the race detector sleeps for a second at its end,
	// unless the environment says otherwise.
	c.env = append(append([]string{"GORACE=atexit_sleep_ms=100"}, os.Environ()...),
		"CADDY_ADMIN="+c.Admin,
		"HOME="+c.Dir,
		"XDG_DATA_HOME="+filepath.Join(c.Dir, "data"),
		"XDG_CONFIG_HOME="+filepath.Join(c.Dir, "config"),
	)
	c.env = append(c.env, env...)
	return c, nil
}

// Setenv adds NAME=value to the environment of the processes to be started.
func (c *Caddy) Setenv(env string) { c.env = append(c.env, env) }

// Within makes do call what starts the processes of c, such as in another network
// namespace. admin is the address of the admin API there.
func (c *Caddy) Within(do func(start func()), admin string) {
	c.within, c.Admin = do, admin
	c.Setenv("CADDY_ADMIN=" + admin)
}

// Hold makes this process hold sockets that listen at the addresses, as systemd
// does: each process of c finds them as its file descriptors 3, 4, … They stay
// open while none runs.
func (c *Caddy) Hold(addresses ...string) error {
	for _, address := range addresses {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		f, err := l.(*net.TCPListener).File()
		if err := errors.Join(err, l.Close()); err != nil {
			return err
		}
		c.sockets = append(c.sockets, f)
	}
	return nil
}

// Upgrade makes the processes to be started run another binary.
func (c *Caddy) Upgrade(binary string) { c.binary = binary }

// Run starts the process and waits until it serves. A Caddy that was killed
// or stopped can be run again; it finds its data where it was.
func (c *Caddy) Run(caddyfile string) error {
	path := filepath.Join(c.Dir, "Caddyfile")
	if err := os.WriteFile(path, []byte(caddyfile), 0o600); err != nil {
		return err
	}
	cmd := c.command(context.Background(), "run", "--config", path, "--adapter", "caddyfile")
	cmd.Stdout, cmd.Stderr = c.log, c.log
	cmd.ExtraFiles = c.sockets
	var err error
	start := func() { err = cmd.Start() }
	if c.within != nil {
		c.within(start)
	} else {
		start()
	}
	if err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	c.mu.Lock()
	c.cmd, c.done = cmd, done
	c.mu.Unlock()
	return c.await(done)
}

// await waits until the admin API has the configuration: it is set when all
// apps have started.
func (c *Caddy) await(done <-chan struct{}) error {
	deadline := time.After(startTimeout)
	for {
		resp, err := http.Get("http://" + c.Admin + "/config/apps")
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK && len(bytes.TrimSpace(body)) > len("null") {
				return nil
			}
		}
		select {
		case <-done:
			return errors.New("caddy ended")
		case <-deadline:
			return errors.New("caddy did not start in time")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *Caddy) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.binary, args...)
	cmd.Env, cmd.Dir = c.env, c.Dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Command runs a caddy command, such as "validate" or "reload", in the
// environment of c and returns what it printed. The variable CADDY_TEST_COMMAND
// names a binary for commands alone: without the race detector, which they need
// least, they take a third of the time. Default: the one that is run.
func (c *Caddy) Command(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandTimeout)
	defer cancel()
	cmd := c.command(ctx, args...)
	if binary := os.Getenv("CADDY_TEST_COMMAND"); binary != "" {
		cmd.Path = binary
	}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Reload loads another Caddyfile into the running process.
func (c *Caddy) Reload(caddyfile string) error {
	resp, err := http.Post("http://"+c.Admin+"/load", "text/caddyfile", strings.NewReader(caddyfile))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("reload: %s: %s", resp.Status, body)
	}
	return nil
}

// Kill ends the process at once (SIGKILL) and waits for it.
func (c *Caddy) Kill() { c.end(syscall.SIGKILL) }

// Stop ends the process the way a service manager does (SIGTERM) and waits
// for it.
func (c *Caddy) Stop() { c.end(syscall.SIGTERM) }

func (c *Caddy) end(sig syscall.Signal) {
	c.mu.Lock()
	cmd, done := c.cmd, c.done
	c.mu.Unlock()
	if cmd == nil {
		return
	}
	_ = cmd.Process.Signal(sig)
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		_ = cmd.Process.Kill()
		<-done
	}
}

// PID is the process ID.
func (c *Caddy) PID() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cmd.Process.Pid
}

// Log is what the processes of c have printed, up to the last line that was
// written before the call.
func (c *Caddy) Log() string {
	content, err := io.ReadAll(io.NewSectionReader(c.log, 0, math.MaxInt64))
	if err != nil {
		return fmt.Sprintf("%s\nreading the log: %v", content, err)
	}
	return string(content)
}

// RootCA is the file with the root certificate of Caddy's internal CA.
func (c *Caddy) RootCA() string {
	return filepath.Join(c.Dir, "data", "caddy", "pki", "authorities", "local", "root.crt")
}

// QueueDir is the default directory of the embedded queue.
func (c *Caddy) QueueDir() string { return filepath.Join(c.Dir, "data", "caddy", "dovecot_push") }

// Metrics returns the metrics page of the admin API.
func (c *Caddy) Metrics() (string, error) {
	resp, err := http.Get("http://" + c.Admin + "/metrics")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

var builtBinary = sync.OnceValues(func() (string, error) {
	if binary := os.Getenv("CADDY_TEST_BINARY"); binary != "" {
		return filepath.Abs(binary)
	}
	dir, err := os.MkdirTemp("", "caddytestkit")
	if err != nil {
		return "", err
	}
	binary := filepath.Join(dir, "caddy")
	build := exec.Command("go", "build", "-race", "-o", binary, "./cmd/caddy")
	build.Dir = Repository()
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building caddy: %w\n%s", err, out)
	}
	return binary, nil
})

// Binary is the caddy that tests run, with the race detector: the one that
// the variable CADDY_TEST_BINARY names, or else one built for this test run.
func Binary(t testing.TB) string {
	t.Helper()
	binary, err := builtBinary()
	if err != nil {
		t.Fatal(err)
	}
	return binary
}

// Repository is the root directory of this repository, found from the working
// directory: binaries that are built with -trimpath do not know it.
func Repository() string {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		dir = filepath.Dir(dir)
	}
	panic("the working directory is not in this repository")
}
