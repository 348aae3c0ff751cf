// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package apachetest starts a real Apache for tests, on a free port of 127.0.0.1
// and with a directory of its own. It ends with the test.
//
// install.sh installs the Debian package that it needs.
package apachetest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

const (
	binary  = "/usr/sbin/apache2"
	modules = "/usr/lib/apache2/modules"

	startTimeout = time.Minute
)

// loaded are the modules that a configuration may use.
var loaded = []string{
	"mpm_event", "authn_core", "authn_file", "auth_basic", "authz_core", "authz_host", "authz_user", "access_compat", "alias", "env",
	"headers", "lbmethod_byrequests", "lbmethod_bybusyness", "proxy", "proxy_balancer", "proxy_http", "proxy_ajp", "remoteip", "rewrite",
	"setenvif", "slotmem_shm", "status", "dir",
}

// Port returns a port for a server. A configuration may have to say it before
// the server starts.
func Port(t testing.TB) int {
	t.Helper()
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// Start starts an Apache on the port, with files that it reads one after the
// other. What they include is found in their directory, which is the ServerRoot.
func Start(t testing.TB, port int, root string, files ...string) {
	t.Helper()
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("there is no Apache: run internal/apachetest/install.sh: %v", err)
	}
	dir, err := os.MkdirTemp("", "apachetest") // t.TempDir is closed to the user that it runs as
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	config := &strings.Builder{}
	fmt.Fprintf(config, "ServerRoot %q\nPidFile %q\nDefaultRuntimeDir %q\nErrorLog %q\nListen 127.0.0.1:%d\nServerLimit 1\nStartServers 1\n",
		root, filepath.Join(dir, "pid"), dir, filepath.Join(dir, "error.log"), port)
	if os.Geteuid() == 0 {
		fmt.Fprintf(config, "User %s\nGroup %s\n", unprivileged, unprivileged)
		own(t, dir)
	}
	for _, name := range loaded {
		fmt.Fprintf(config, "LoadModule %s_module %s/mod_%s.so\n", name, modules, name)
	}
	for _, file := range files {
		fmt.Fprintf(config, "Include %q\n", file)
	}
	path := filepath.Join(dir, "apache.conf")
	if err := os.WriteFile(path, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(binary, "-t", "-f", path).CombinedOutput(); err != nil {
		t.Fatalf("Apache does not take this: %v\n%s", err, out)
	}
	// The shell ends Apache when this process ends, however it does.
	cmd := exec.Command("sh", "-c", `"$@" & read -r end; kill $!; wait $!`, "sh", binary, "-f", path, "-D", "FOREGROUND")
	alive, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = alive.Close()
		_ = cmd.Wait()
		if t.Failed() {
			content, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("Apache's log:\n%s", content)
		}
	})
	address := fmt.Sprintf("127.0.0.1:%d", port)
	for deadline := time.Now().Add(startTimeout); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Apache does not listen: %v", err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// unprivileged is the user that Apache becomes when it is started by root, which
// every Debian has.
const unprivileged = "www-data"

func own(t testing.TB, dir string) {
	t.Helper()
	account, err := user.Lookup(unprivileged)
	if err != nil {
		t.Fatal(err)
	}
	var uid, gid int
	if _, err := fmt.Sscan(account.Uid, &uid); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(account.Gid, &gid); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, uid, gid); err != nil {
		t.Fatal(err)
	}
}
