// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// ErrNoSuchVersion tells that the machine cannot have the wanted version of
// Dovecot: nothing is broken, there is just nothing to test with.
var ErrNoSuchVersion = errors.New("no such Dovecot here")

// root24 is the environment variable that names a Debian root directory with
// Dovecot 2.4 in it.
const root24 = "DOVECOT_24_ROOT"

// searchPath is where commands are looked for, also by a user whose own PATH
// lacks the sbin directories.
const searchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// installation is one Dovecot that is installed on the machine.
type installation struct {
	release string // the number of the release, as in "2.3.19.1"
	root    string // the root directory that it runs in; empty: the machine's own
}

// findInstallation looks for the wanted version. The error wraps
// ErrNoSuchVersion if only another one is there.
func findInstallation(ctx context.Context, version Version) (installation, error) {
	if err := mayBecomeRoot(ctx); err != nil {
		return installation{}, err
	}
	root := os.Getenv(root24)
	if version == V24 && root != "" {
		inst := installation{root: root}
		if err := inst.identify(ctx); err != nil {
			return inst, fmt.Errorf("%s: %w", root24, err)
		}
		if inst.version() != V24 {
			return inst, fmt.Errorf("%s: it has Dovecot %s", root24, inst.release)
		}
		return inst, nil
	}

	var inst installation
	err := inst.identify(ctx)
	switch {
	case err == nil && (version == "" || version == inst.version()):
		return inst, nil
	case version == V24:
		return inst, fmt.Errorf("%w: %s is not set: Dovecot 2.4 needs a Debian root directory here, see root24.sh", ErrNoSuchVersion, root24)
	case err != nil:
		return inst, err
	case inst.version() == V24 && version == V23:
		return inst, fmt.Errorf("%w: the Dovecot of this machine is %s, not 2.3", ErrNoSuchVersion, inst.release)
	default:
		return inst, fmt.Errorf("the Dovecot of this machine is %s: cannot start %q", inst.release, version)
	}
}

var releasePattern = regexp.MustCompile(`^\d+\.\d+(\.\d+)*`)

// identify asks the dovecot program for its release.
func (i *installation) identify(ctx context.Context) error {
	out, err := output(i.command(ctx, "dovecot", "--version"))
	if err != nil && i.root == "" {
		return fmt.Errorf("no Dovecot is installed: run `make test` or apt-get install dovecot-core dovecot-imapd dovecot-lmtpd: %w", err)
	} else if err != nil {
		return fmt.Errorf("no Dovecot runs in this directory, root24.sh makes one: %w", err)
	}
	i.release = releasePattern.FindString(out)
	if v := i.version(); v != V23 && v != V24 {
		return fmt.Errorf("unsupported Dovecot %q: want 2.3 or 2.4", strings.TrimSpace(out))
	}
	return nil
}

func (i *installation) version() Version {
	major, rest, _ := strings.Cut(i.release, ".")
	minor, _, _ := strings.Cut(rest, ".")
	return Version(major + "." + minor)
}

// command makes a command of Dovecot, run as root in the installation's root
// directory.
func (i *installation) command(ctx context.Context, args ...string) *exec.Cmd {
	return asRoot(ctx, i.arguments(args...)...)
}

func (i *installation) arguments(args ...string) []string {
	if i.root == "" {
		return args
	}
	return append([]string{"chroot", i.root}, args...)
}

// asRoot makes a command that runs as root.
func asRoot(ctx context.Context, args ...string) *exec.Cmd {
	args = append([]string{"env", "LC_ALL=C", searchPath}, args...)
	if os.Geteuid() != 0 {
		args = append([]string{"sudo", "-n"}, args...)
	}
	return exec.CommandContext(ctx, args[0], args[1:]...)
}

func mayBecomeRoot(ctx context.Context) error {
	if _, err := output(asRoot(ctx, "true")); err != nil {
		return fmt.Errorf("starting Dovecot needs root: run as root, or allow sudo without a password: %w", err)
	}
	return nil
}

// output runs a command and returns its standard output. Its standard error is
// part of the error if it fails, and ignored if not: sudo may have complaints.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}
