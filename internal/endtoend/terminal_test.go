// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// onTerminal runs caddy dovecot-push with a terminal for standard error, and
// returns what came there, with its control characters, and on standard output.
func (f *front) onTerminal(t *testing.T, args ...string) (stdout, screen string, status int) {
	t.Helper()
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	defer terminal.Close()
	require.NoError(t, unix.IoctlSetPointerInt(int(terminal.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(terminal.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	side, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	cmd := exec.Command(caddytestkit.Binary(t), append([]string{"dovecot-push", "--address", f.Admin}, args...)...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, side
	require.NoError(t, cmd.Start())
	side.Close()
	seen, _ := io.ReadAll(terminal) // which ends with EIO, as terminals do
	err = cmd.Wait()
	if failure, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), string(seen), failure.ExitCode()
	}
	require.NoError(t, err)
	return out.String(), string(seen), 0
}

// On a terminal a bar shows how registering everybody goes on. Those who fail
// stay readable above it, and make the exit status 1.
func TestProgressBar(t *testing.T) {
	t.Parallel()
	const many = 12 // a busy machine starts few processes of Dovecot a second
	f, dovecot, _ := startRegistering(t, dovecottest.Config{Users: users(many), NoDebugLog: true}, registrars[0], "register off")
	const full = "\r\x1b[K[##############################] 12/12, "
	stdout, screen, status := f.onTerminal(t, "register", "--all")
	assert.Zero(t, status, screen)
	assert.Contains(t, screen, full)
	assert.Greater(t, strings.Count(screen, "\r\x1b[K["), 1, "the bar moves")
	assert.Regexp(t, `^register: 12 users in \S+s, 0 failed\n$`, stdout)

	const broken = "user5@example.com"
	require.NoError(t, dovecot.BreakMail(broken))
	stdout, screen, status = f.onTerminal(t, "register", "--all")
	assert.Equal(t, 1, status)
	assert.Contains(t, screen, "\r\x1b[K"+broken+": the user's mail cannot be opened right now", "in a line of its own")
	assert.Contains(t, screen, full)
	assert.Contains(t, screen, "register: 1 of 12 users failed")
	assert.Regexp(t, `^register: 12 users in \S+s, 1 failed\n$`, stdout)

	// Programs get JSON and no bar.
	stdout, screen, status = f.onTerminal(t, "register", "--all", "--json")
	assert.Equal(t, 1, status)
	assert.NotContains(t, screen, "[#")
	var all []struct{ User, State, Reason, Error string }
	require.NoError(t, json.Unmarshal([]byte(stdout), &all), stdout)
	require.Len(t, all, many)
	for _, one := range all {
		if one.User == broken {
			assert.Equal(t, "failed", one.State)
			assert.Equal(t, "temporary", one.Reason)
			assert.Contains(t, one.Error, "mail cannot be opened right now")
		} else {
			assert.Equal(t, "registered", one.State)
		}
	}
}
