// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"
)

//go:embed supervise.sh
var superviseScript string

// stopTimeout bounds the end of Dovecot, which takes milliseconds as a rule.
const stopTimeout = 15 * time.Second

// process is a running Dovecot below the supervising shell.
//
// A pipe ties it to this process, instead of a parent death signal: that one
// does not pass a sudo, and fires early if the starting thread ends.
type process struct {
	owner io.WriteCloser // the pipe
	ended chan struct{}  // closed when err is set
	err   error          // of cmd.Wait
}

// startProcess runs dovecot in the foreground, in a process group of its own:
// what the terminal sends to this one is none of its business. Its output goes
// to log.
func startProcess(inst installation, directory string, log *os.File, args ...string) (*process, error) {
	command := append([]string{"sh", "-c", superviseScript, "sh", directory}, inst.arguments(args...)...)
	cmd := asRoot(context.Background(), command...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Stdout, cmd.Stderr = log, log
	owner, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{owner: owner, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// stop ends Dovecot and waits for it. It is called once.
func (p *process) stop() error {
	_, writeErr := io.WriteString(p.owner, "stop\n")
	select {
	case <-p.ended:
		if writeErr != nil || p.err != nil {
			return fmt.Errorf("the server had ended unexpectedly: %w", errors.Join(p.err, writeErr))
		}
		return nil
	case <-time.After(stopTimeout):
		return fmt.Errorf("the server did not end within %v", stopTimeout)
	}
}
