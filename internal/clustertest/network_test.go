// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package clustertest

import (
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	// subnet is the network of a bridge in the namespace of the tests, which has
	// the first address in it.
	subnet = "10.9.0."
	gate   = subnet + "1"
	bridge = "br0"
	// nowhere is a hardware address that nobody has.
	nowhere = "02:00:00:00:00:00"
)

// network is a bridge with nodes at it, which reach each other and the tests.
type network struct {
	t     testing.TB
	nodes int
}

// node is a network namespace with an address, and its cable to the bridge.
type node struct {
	name, addr string
	t          testing.TB
	calls      chan func()
}

func newNetwork(t testing.TB) *network {
	t.Helper()
	if unsupported != "" {
		t.Skip(unsupported)
	}
	if out, err := exec.Command("ip", "link", "add", bridge, "type", "bridge").CombinedOutput(); err != nil {
		t.Skipf("cannot make a bridge here: %v: %s", err, out)
	}
	run(t, "ip", "addr", "add", gate+"/24", "dev", bridge)
	run(t, "ip", "link", "set", bridge, "up")
	t.Cleanup(func() { run(t, "ip", "link", "del", bridge) })
	return &network{t: t}
}

// add adds a node.
func (n *network) add(name string) *node {
	n.t.Helper()
	n.nodes++
	x := &node{name: name, addr: subnet + strconv.Itoa(10+n.nodes), t: n.t, calls: make(chan func())}
	thread := make(chan int)
	failed := make(chan error)
	go x.serve(thread, failed)
	select {
	case err := <-failed:
		n.t.Skipf("cannot make a network namespace here: %v", err)
	case tid := <-thread:
		run(n.t, "ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(tid))
	}
	n.t.Cleanup(func() {
		close(x.calls)
		_ = exec.Command("ip", "link", "del", name).Run() // unless the namespace has ended already
	})
	run(n.t, "ip", "link", "set", name, "master", bridge)
	run(n.t, "ip", "link", "set", name, "up")
	x.run("ip", "link", "set", "lo", "up")
	x.run("ip", "addr", "add", x.addr+"/24", "dev", "eth0")
	x.run("ip", "link", "set", "eth0", "up")
	return x
}

// serve is where everything that is in the namespace happens: the namespace
// belongs to its thread, which ends with it.
func (x *node) serve(thread chan<- int, failed chan<- error) {
	runtime.LockOSThread()
	if err := syscall.Unshare(syscall.CLONE_NEWNET); err != nil {
		failed <- err
		return
	}
	thread <- syscall.Gettid()
	for call := range x.calls {
		call()
	}
}

// do calls f in the namespace. Processes that f starts are in it too.
func (x *node) do(f func()) {
	done := make(chan struct{})
	x.calls <- func() {
		defer close(done)
		f()
	}
	<-done
}

// try is run in the namespace for what may fail.
func (x *node) try(name string, args ...string) (err error) {
	x.do(func() {
		var out []byte
		if out, err = exec.Command(name, args...).CombinedOutput(); err != nil {
			err = fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
		}
	})
	return err
}

func (x *node) run(name string, args ...string) {
	x.t.Helper()
	require.NoError(x.t, x.try(name, args...), "at %s", x.name)
}

// unplug pulls the cable: what is sent is lost, and nobody hears of it.
func (x *node) unplug() { run(x.t, "ip", "link", "set", x.name, "down") }

// plug puts the cable back.
func (x *node) plug() { run(x.t, "ip", "link", "set", x.name, "up") }

// mute loses what x sends to the other nodes. What they send arrives.
func (x *node) mute(others ...*node) {
	for _, other := range others {
		x.run("ip", "neigh", "replace", other.addr, "lladdr", nowhere, "dev", "eth0", "nud", "permanent")
	}
}

// unmute ends mute.
func (x *node) unmute(others ...*node) {
	for _, other := range others {
		x.run("ip", "neigh", "del", other.addr, "dev", "eth0")
	}
}

// part loses what the nodes of one side send to those of the other.
func part(here, there []*node) {
	for _, x := range here {
		x.mute(there...)
	}
	for _, x := range there {
		x.mute(here...)
	}
}

// join ends part.
func join(here, there []*node) {
	for _, x := range here {
		x.unmute(there...)
	}
	for _, x := range there {
		x.unmute(here...)
	}
}

// run runs a command in the namespace of the tests.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(t, err, "%s %s: %s", name, strings.Join(args, " "), out)
}
