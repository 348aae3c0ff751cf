// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package clustertest tests three Caddys that share a cluster of three NATS
// servers, each of them in a network namespace of its own, while processes are
// killed, links fail and disks are emptied. Everything that is sent and that
// arrives is in a [history], which [history.check] judges.
package clustertest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
)

// inside is set in the environment of the process that runs the tests.
const inside = "CLUSTERTEST_INSIDE"

// unsupported is why there is no network for these tests here, if there is none.
var unsupported string

// TestMain runs the tests in a network namespace of their own: they touch
// nothing of the machine's network, and the kernel removes what they leave.
func TestMain(m *testing.M) {
	if os.Getenv(inside) != "" {
		if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "ip link set lo up: %v: %s\n", err, out)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	switch err := exec.Command("ip", "link", "show").Run(); {
	case os.Getuid() != 0:
		unsupported = "needs root: makes network namespaces"
	case err != nil:
		unsupported = "needs the command ip of iproute2"
	default:
		// The process ends with the thread that started it.
		runtime.LockOSThread()
		cmd := exec.Command(os.Args[0], os.Args[1:]...)
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
		err := cmd.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			os.Exit(exit.ExitCode())
		}
		if err == nil {
			os.Exit(0)
		}
		unsupported = fmt.Sprintf("cannot make a network namespace here: %v", err)
	}
	os.Exit(m.Run())
}
