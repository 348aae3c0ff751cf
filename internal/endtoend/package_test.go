// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// machine is the root directory of a Debian system. systemd does not run in it:
// the test does what the units say, and what packages ask of systemctl is kept.
type machine struct {
	t       *testing.T
	root    string
	version dovecottest.Version
}

const asked = "/root/systemctl.log"

// newMachine makes one of the root directories of make release-check.
func newMachine(t *testing.T, dir, suite string) *machine {
	t.Helper()
	m := &machine{t, filepath.Join(t.TempDir(), "r"), "2.3"}
	if suite == "trixie" {
		m.version = "2.4"
	}
	out, err := exec.Command("cp", "-a", "--reflink=auto", filepath.Join(dir, suite), m.root).CombinedOutput()
	require.NoError(t, err, "%s", out)
	m.write("/usr/bin/systemctl", "#!/bin/sh\necho \"$@\" >>"+asked+"\n", 0o755)
	require.NoError(t, os.MkdirAll(m.path("/run/systemd/system"), 0o755))
	require.NoError(t, syscall.Mount("proc", m.path("/proc"), "proc", 0, ""))
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(m.path("/proc"), syscall.MNT_DETACH)) })
	return m
}

func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

func (m *machine) write(name, content string, mode os.FileMode) {
	m.t.Helper()
	require.NoError(m.t, os.WriteFile(m.path(name), []byte(content), mode))
	require.NoError(m.t, os.Chmod(m.path(name), mode))
}

func (m *machine) command(args ...string) *exec.Cmd {
	cmd := exec.Command("chroot", append([]string{m.root}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"}
	return cmd
}

// sh runs a command as root, as it would be typed.
func (m *machine) sh(command string) string {
	m.t.Helper()
	out, err := m.command("sh", "-c", command).CombinedOutput()
	require.NoError(m.t, err, "%s: %s", command, out)
	return string(out)
}

// asked returns what was asked of systemctl since the last call.
func (m *machine) asked() string {
	m.t.Helper()
	out, _ := os.ReadFile(m.path(asked))
	_ = os.Remove(m.path(asked))
	return string(out)
}

// owner is owner, group and mode of a file, as stat prints them.
func (m *machine) owner(name string) string {
	m.t.Helper()
	return strings.TrimSpace(m.sh("stat -c '%U:%G %a' " + name))
}

func (m *machine) dovecot() {
	m.t.Helper()
	cmd := m.command("dovecot", "-F")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	require.NoError(m.t, cmd.Start())
	m.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	require.Eventually(m.t, func() bool {
		conn, err := net.Dial("unix", m.path("/run/dovecot/lmtp"))
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, waitTimeout, 20*time.Millisecond, "Dovecot")
}

// unit is a service of systemd whose process the test starts: with the user,
// the environment, the capabilities, the directory and the socket of the files.
type unit struct {
	m      *machine
	file   string
	socket *os.File
	env    []string
	log    *os.File
	cmd    *exec.Cmd
}

func (m *machine) unit(name string, env ...string) *unit {
	m.t.Helper()
	u := &unit{m: m, file: readAll(m.t, m.path("/usr/lib/systemd/system/"+name+".service")), env: env}
	listen := find(m.t, readAll(m.t, m.path("/usr/lib/systemd/system/"+name+".socket")), `(?m)^ListenStream=(.*)$`)
	l, err := net.Listen("tcp", listen)
	require.NoError(m.t, err)
	u.socket, err = l.(*net.TCPListener).File()
	require.NoError(m.t, err)
	require.NoError(m.t, l.Close())
	u.log, err = os.Create(filepath.Join(m.t.TempDir(), name+".log"))
	require.NoError(m.t, err)
	m.t.Cleanup(func() {
		u.stop()
		u.socket.Close()
		if m.t.Failed() {
			m.t.Log(readAll(m.t, u.log.Name()))
		}
	})
	user := find(m.t, u.file, `(?m)^User=(.*)$`)
	m.sh("install -d -m " + find(m.t, u.file, `(?m)^StateDirectoryMode=(.*)$`) + " -o " + user + " -g " + user +
		" /var/lib/" + strings.Join(strings.Fields(find(m.t, u.file, `(?m)^StateDirectory=(.*)$`)), " /var/lib/"))
	return u
}

func (u *unit) start() {
	u.m.t.Helper()
	user := find(u.m.t, u.file, `(?m)^User=(.*)$`)
	args := []string{"setpriv", "--reuid", user, "--regid", user, "--init-groups", "--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service", "env"}
	args = append(args, strings.Fields(find(u.m.t, u.file, `(?m)^Environment=(.*)$`))...)
	args = append(args, u.env...)
	u.cmd = u.m.command(append(args, strings.Fields(find(u.m.t, u.file, `(?m)^ExecStart=(.*)$`))...)...)
	u.cmd.Stdout, u.cmd.Stderr = u.log, u.log
	u.cmd.ExtraFiles = []*os.File{u.socket}
	require.NoError(u.m.t, u.cmd.Start())
}

func (u *unit) stop() {
	if u.cmd != nil {
		_ = u.cmd.Process.Signal(syscall.SIGTERM)
		_ = u.cmd.Wait()
		u.cmd = nil
	}
}

// versionOf is what the running Caddy says of itself.
func (u *unit) version() string {
	u.m.t.Helper()
	var status struct{ Version struct{ Module string } }
	require.NoError(u.m.t, json.Unmarshal([]byte(u.m.sh("caddy dovecot-push status --json")), &status))
	return status.Version.Module
}

// The package on a Debian with Dovecot: the three commands of the page and a push
// is on a device; an upgrade under load that loses nothing; what stays when it is
// removed and purged.
//
// It needs root, packages and root directories, and a network of its own: "make
// release-check" has all of it.
func TestPackage(t *testing.T) {
	dir := os.Getenv("RELEASE_CHECK")
	if dir == "" {
		t.Skip("make release-check runs this: it takes minutes to build two packages and two systems")
	}
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			m := newMachine(t, dir, suite)
			for _, deb := range []string{"old.deb", "new.deb"} {
				copyFile(t, filepath.Join(dir, deb), m.path("/root/"+deb))
			}
			m.sh("chmod 644 /root/*.deb && chmod 755 /root")
			commands := strings.Split(strings.TrimSpace(find(t, read(t, "docs", "getting-started.md"), "(?s)## From a package.*?```sh\n(.*?)```")), "\n\n")
			require.Len(t, commands, 3)
			m.dovecot()

			begin := time.Now()
			m.sh(strings.Replace(commands[0], "./caddy-dovecot-push_*_amd64.deb", "/root/old.deb", 1))
			m.installed()
			m.sh(strings.Replace(commands[1], "--dovecot 2.4", "--dovecot "+string(m.version), 1))
			assert.Equal(t, "root:root 600", m.owner("/etc/dovecot/conf.d/99-push.conf"))
			m.sh(strings.NewReplacer("YOUR.DOMAIN", "here.example").Replace(commands[2]))
			assert.Contains(t, m.asked(), "enable --now caddy-dovecot-push\n")
			caddyfile := readAll(t, m.path("/etc/caddy/Caddyfile"))
			require.Contains(t, caddyfile, "\nmail.here.example {")
			require.Contains(t, caddyfile, "postmaster@here.example")

			// A push service and a middleware that are of this test, and a name whose
			// certificate Caddy makes itself.
			service, ox := pushtest.Start(t), startMiddleware(t)
			m.write("/etc/caddy/Caddyfile", strings.NewReplacer(
				"mail.here.example", "localhost", "\t\tdeliver webpush {\n", "\t\tdeliver webpush {\n\t\t\tallow_endpoints "+service.Origin+"\n",
				"\t}\n}\n\n#", "\t\tdeliver middleware {\n\t\t\tcredentials "+oxUser+" {env.OX}\n\t\t\treverse_proxy "+ox.addr+"\n\t\t}\n\t}\n}\n\n#",
				"\t\tcredentials dovecot", "\t\tcredentials "+notifyUser+" {env.SENDER}\n\t\tcredentials dovecot",
			).Replace(caddyfile), 0o640)
			m.write("/etc/ssl/push.pem", string(service.CA()), 0o644)
			caddy := m.unit("caddy-dovecot-push", "OX="+oxPassword, "SENDER="+notifyPassword, "SSL_CERT_FILE=/etc/ssl/push.pem")
			caddy.start()
			awaitCertificate(t, "localhost:443")

			alice := newPerson(t, "https://localhost/push", m.path("/var/lib/caddy/pki/authorities/local/root.crt"))
			require.Equal(t, http.StatusOK, alice.signIn("alice", "pass"))
			phone, _ := alice.subscribe(service)
			require.Eventually(t, func() bool {
				out, _ := m.command("doveadm", "mailbox", "metadata", "get", "-s", "-u", "alice", "", dovecottest.MetadataKey).CombinedOutput()
				return strings.Contains(string(out), "user=alice")
			}, waitTimeout, 200*time.Millisecond, "Dovecot notifies for her")
			m.deliver("alice", "first push")
			assert.Equal(t, "first push", mailOf(t, phone.Wait(2)[1]).Subject)
			took := time.Since(begin)
			t.Logf("%s: first push after %s", suite, took.Round(time.Second))
			assert.Less(t, took, 5*time.Minute)
			m.sh("caddy dovecot-push doctor --user alice --deliver /run/dovecot/lmtp")

			m.upgrade(caddy, ox)
			m.deliver("alice", "after the upgrade")
			assert.Eventually(t, func() bool {
				got := phone.Wait(1)
				return mailOf(t, got[len(got)-1]).Subject == "after the upgrade"
			}, waitTimeout, 50*time.Millisecond)

			m.besideAPackagedCaddy()
			caddy.stop()
			m.removed()
		})
	}
}

// installed checks what the package put where.
func (m *machine) installed() {
	m.t.Helper()
	for _, file := range []string{"/etc/caddy/notify-password", "/etc/caddy/doveadm-secret", "/etc/caddy/Caddyfile"} {
		assert.Equal(m.t, "root:caddy 640", m.owner(file), file)
	}
	assert.NotEqual(m.t, readAll(m.t, m.path("/etc/caddy/notify-password")), readAll(m.t, m.path("/etc/caddy/doveadm-secret")))
	assert.Regexp(m.t, "^[0-9a-f]{64}$", readAll(m.t, m.path("/etc/caddy/notify-password")))
	assert.Contains(m.t, m.sh("getent passwd caddy"), "/usr/sbin/nologin")
	assert.NotContains(m.t, m.asked(), "start caddy\n", "it is not started before it was configured")
	m.sh("caddy validate --config /etc/caddy/Caddyfile")
	assert.Contains(m.t, m.sh("caddy list-modules"), "http.handlers.dovecot_push_notify")
	units := "/usr/lib/systemd/system/caddy-dovecot-push."
	out := m.sh("systemd-analyze verify --man=no --recursive-errors=no " + units + "service " + units + "socket 2>&1 || true")
	assert.NotContains(m.t, out, "caddy-dovecot-push", "no line is complained about")
	for _, file := range []string{
		"/usr/share/man/man8/caddy-dovecot-push-doctor.8.gz", "/usr/share/bash-completion/completions/caddy",
		"/usr/share/zsh/vendor-completions/_caddy", "/usr/share/fish/vendor_completions.d/caddy.fish", "/usr/share/doc/caddy-dovecot-push/copyright",
	} {
		assert.FileExists(m.t, m.path(file))
	}
}

// deliver sends a mail to a user by Dovecot's socket.
func (m *machine) deliver(user, subject string) {
	m.t.Helper()
	l, err := dovecottest.OpenLMTP(m.path("/run/dovecot/lmtp"))
	require.NoError(m.t, err)
	defer l.Close()
	_, err = l.Deliver("bob@example.net", []string{user}, fmt.Appendf(nil, "From: Bob <bob@example.net>\r\nTo: %s\r\nSubject: %s\r\n\r\nHello\r\n", user, subject))
	require.NoError(m.t, err)
}

// upgrade installs the next version while notifications come: each has its
// answer, and arrives.
func (m *machine) upgrade(caddy *unit, ox *middleware) {
	t := m.t
	t.Helper()
	before := caddy.version()
	secret := readAll(t, m.path("/etc/caddy/notify-password"))
	m.asked()
	s := newSender("127.0.0.1:8008")
	s.next.Store(1 << 20) // other numbers than those of Alice's mails
	s.timeout = waitTimeout
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { s.run(ctx, 4) })
	more := func() {
		t.Helper()
		before := s.count()
		require.Eventually(t, func() bool { return s.count() > before+100 }, waitTimeout, 10*time.Millisecond)
	}
	more()
	m.sh("apt-get install -q -y /root/new.deb")
	assert.Contains(t, m.asked(), "try-restart caddy-dovecot-push.service")
	caddy.stop()
	caddy.start()
	more()
	cancel()
	wg.Wait()
	assert.Zero(t, s.failed.Load(), "%v", s.failures)
	require.Eventually(t, func() bool {
		missing, _ := s.missing(decode(t, ox.got()))
		return missing == 0
	}, waitTimeout, 50*time.Millisecond, "everything that was accepted arrives")
	assert.NotEqual(t, before, caddy.version())
	t.Logf("upgrade from %s to %s: %d notifications, the slowest answer after %s", before, caddy.version(), s.count(), s.slowest.Round(time.Millisecond))
	assert.Equal(t, secret, readAll(t, m.path("/etc/caddy/notify-password")), "Dovecot has it, too")
}

// besideAPackagedCaddy installs, upgrades and removes Debian's Caddy: the binary
// with the modules stays in its place.
func (m *machine) besideAPackagedCaddy() {
	t := m.t
	t.Helper()
	ours := func() bool { return strings.Contains(m.sh("caddy list-modules"), "dovecot_push") }
	config := readAll(t, m.path("/etc/caddy/Caddyfile"))
	m.sh("apt-get install -q -y -o Dpkg::Options::=--force-confold /root/caddy.deb")
	assert.True(t, ours())
	assert.NotContains(t, m.sh("/usr/bin/caddy.default list-modules"), "dovecot_push")
	assert.Equal(t, config, readAll(t, m.path("/etc/caddy/Caddyfile")))
	m.sh("dpkg --force-confold -i /root/caddy.deb") // as an upgrade of it does
	assert.True(t, ours())
	m.sh("apt-get remove -q -y caddy-dovecot-push")
	assert.False(t, ours(), "Debian's own is back")
	m.sh("apt-get install -q -y /root/new.deb")
	assert.True(t, ours())
	m.sh("apt-get remove -q -y caddy")
	assert.True(t, ours())
	assert.Equal(t, config, readAll(t, m.path("/etc/caddy/Caddyfile")))
	// It removes the directories of Caddy, but not the queue.
	m.sh("dpkg --purge caddy")
	assert.True(t, ours())
	assert.NotEmpty(t, m.sh("ls /var/lib/caddy-dovecot-push/jetstream"))
	m.sh("apt-get install -q -y --reinstall /root/new.deb")
	assert.FileExists(t, m.path("/etc/caddy/Caddyfile"))
}

// removed purges the package: what waits stays, unless that was asked for.
func (m *machine) removed() {
	t := m.t
	t.Helper()
	queue := m.path("/var/lib/caddy-dovecot-push")
	m.sh("apt-get remove -q -y caddy-dovecot-push")
	assert.NoFileExists(t, m.path("/usr/bin/caddy"))
	assert.FileExists(t, m.path("/etc/caddy/notify-password"))
	assert.DirExists(t, queue)
	assert.Contains(t, m.asked(), "disable --now caddy-dovecot-push.socket caddy-dovecot-push.service")
	out := m.sh("dpkg --purge caddy-dovecot-push 2>&1")
	assert.Contains(t, out, "/var/lib/caddy-dovecot-push")
	assert.DirExists(t, queue)
	assert.NoFileExists(t, m.path("/etc/caddy/notify-password"))
	for diverted := range strings.SplitSeq(strings.TrimSpace(m.sh("dpkg-divert --list '*caddy*'")), "\n") {
		assert.Empty(t, diverted)
	}

	m.sh("apt-get install -q -y /root/new.deb")
	m.sh("echo 'caddy-dovecot-push caddy-dovecot-push/remove_data boolean true' | debconf-set-selections")
	m.sh("dpkg --purge caddy-dovecot-push")
	assert.NoDirExists(t, queue)
}

// The units of the package are those of examples/service, at its paths: generate.sh
// makes them of these files, and what it looks for is there.
func TestPackagedUnits(t *testing.T) {
	t.Parallel()
	script := read(t, "packaging", "generate.sh")
	for _, word := range regexp.MustCompile(`s#([^#]+)#`).FindAllStringSubmatch(script, -1) {
		assert.Regexp(t, "(?m)"+word[1], read(t, "examples", "service", "caddy.service"))
	}
	socket := find(t, read(t, "examples", "service", "caddy.socket"), `(?m)^ListenStream=(127\..*)$`)
	assert.Contains(t, read(t, "packaging", "Caddyfile"), "\nhttp://"+socket+" {\n\tbind fd/3 {")
	assert.Contains(t, read(t, "docs", "getting-started.md"), "http://dovecot@"+socket+notifyPath)
}
