// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package clustertest

import (
	"math/rand/v2"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/stretchr/testify/require"
)

// fault is something that fails for a while.
type fault struct {
	name string
	// alone is a fault that leaves no room for another one: with both, what was
	// accepted may be lost.
	alone bool
	// begin makes it fail. It returns the nodes that are concerned, and what
	// ends it.
	begin func(c *cluster, r *rand.Rand) (o outage, end func())
}

var faults = []fault{
	onServer("server killed", one, false, (*server).kill, (*server).start),
	onServer("leader killed", one, true, (*server).kill, (*server).start),
	onServer("server stopped", one, false, (*server).freeze, (*server).thaw),
	onServer("leader stopped", one, true, (*server).freeze, (*server).thaw),
	onServer("server unplugged", one, false, (*server).unplug, (*server).plug),
	onServer("leader unplugged", one, true, (*server).unplug, (*server).plug),
	onServer("leader parted from the other servers", lent, true,
		func(s *server) { part([]*node{s.node}, s.others()) },
		func(s *server) { join([]*node{s.node}, s.others()) }),
	onServer("leader not heard by the other servers", lent, true,
		func(s *server) { s.mute(s.others()...) },
		func(s *server) { s.unmute(s.others()...) }),
	onServer("leader does not hear the other servers", lent, true,
		func(s *server) { each(s.others(), func(x *node) { x.mute(s.node) }) },
		func(s *server) { each(s.others(), func(x *node) { x.unmute(s.node) }) }),
	{name: "all servers killed", begin: func(c *cluster, _ *rand.Rand) (outage, func()) {
		var all []*server
		o := c.outage(one)
		for _, s := range c.servers {
			if !c.failed[s.name] {
				all, o.nodes = append(all, s), append(o.nodes, s.name)
				s.kill()
			}
		}
		return o, func() { each(all, (*server).start) }
	}},
	alone(onServer("disk of a server emptied", one, false, (*server).destroy, (*server).start)),
	alone(onServer("server removed, and another one added", one, false,
		func(s *server) { s.destroy(); s.forget() }, (*server).start)),
	onCaddy("Caddy killed", unacked, (*caddy).Kill, (*caddy).start),
	onCaddy("Caddy stopped", held, (*caddy).freeze, (*caddy).thaw),
	onCaddy("Caddy unplugged", held, (*caddy).unplug, (*caddy).plug),
	onCaddy("Caddy parted from all servers", held,
		func(x *caddy) { part([]*node{x.node}, x.cluster.serverNodes()) },
		func(x *caddy) { join([]*node{x.node}, x.cluster.serverNodes()) }),
}

// loss is of some packets of each server.
var loss = fault{name: "packets lost", begin: func(c *cluster, _ *rand.Rand) (outage, func()) {
	o := c.outage(one)
	for _, s := range c.servers {
		o.nodes = append(o.nodes, s.name)
		run(c.t, "tc", "qdisc", "add", "dev", s.name, "root", "netem", "loss", "10%")
	}
	return o, func() {
		for _, s := range c.servers {
			run(c.t, "tc", "qdisc", "del", "dev", s.name, "root")
		}
	}
}}

// onServer is a fault of one server, or of the one that leads the stream.
func onServer(name string, costs cost, leads bool, begin, end func(*server)) fault {
	return fault{name: name, begin: func(c *cluster, r *rand.Rand) (outage, func()) {
		s := c.choose(r, leads)
		if s == nil {
			return outage{}, nil
		}
		o := c.outage(costs, s.name)
		begin(s)
		return o, func() { end(s) }
	}}
}

// onCaddy is a fault of one Caddy.
func onCaddy(name string, costs cost, begin, end func(*caddy)) fault {
	return fault{name: name, begin: func(c *cluster, r *rand.Rand) (outage, func()) {
		x := c.caddys[r.IntN(size)]
		if c.failed[x.name] {
			return outage{}, nil
		}
		o := c.outage(costs, x.name)
		begin(x)
		return o, func() { end(x) }
	}}
}

func alone(f fault) fault {
	f.alone = true
	return f
}

func (c *cluster) outage(costs cost, nodes ...string) outage {
	return outage{nodes: nodes, from: time.Now(), cost: costs}
}

// choose returns a server that works, or nil if there is none. It is the leader of
// the stream, if wanted and there is one.
func (c *cluster) choose(r *rand.Rand, leads bool) *server {
	if leads {
		if s := c.leader(); s != nil && !c.failed[s.name] {
			return s
		}
	}
	works := slices.DeleteFunc(slices.Clone(c.servers), func(s *server) bool { return c.failed[s.name] })
	if len(works) == 0 {
		return nil
	}
	return works[r.IntN(len(works))]
}

func each[T any](all []T, f func(T)) {
	for _, x := range all {
		f(x)
	}
}

func (s *server) freeze() { s.signal(syscall.SIGSTOP) }
func (s *server) thaw()   { s.signal(syscall.SIGCONT) }
func (x *caddy) freeze()  { x.signal(syscall.SIGSTOP) }
func (x *caddy) thaw()    { x.signal(syscall.SIGCONT) }

// destroy takes the server away with its disk.
func (s *server) destroy() {
	s.kill()
	require.NoError(s.t, os.RemoveAll(s.store()))
}

// forget makes the cluster forget the server that is gone. The next one at its
// node has another name.
func (s *server) forget() {
	s.cluster.remove(s.serverName())
	s.generation++
}

// others are the nodes of the other servers.
func (s *server) others() []*node {
	return slices.DeleteFunc(s.cluster.serverNodes(), func(x *node) bool { return x == s.node })
}

func (c *cluster) serverNodes() (nodes []*node) {
	for _, s := range c.servers {
		nodes = append(nodes, s.node)
	}
	return nodes
}

// plan returns the faults that a seed stands for: one, or two together.
func plan(seed uint64) []fault {
	r := rand.New(rand.NewPCG(seed, seed))
	first := faults[r.IntN(len(faults))]
	if first.alone || r.IntN(2) == 0 {
		return []fault{first}
	}
	for {
		if second := faults[r.IntN(len(faults))]; !second.alone && second.name != first.name {
			return []fault{first, second}
		}
	}
}

const (
	shortestFault = 3 * time.Second
	longestFault  = 12 * time.Second
)

// round is what one seed stands for: faults under load, and what comes after them.
func (c *cluster) round(seed uint64, planned []fault) *verdict {
	c.t.Helper()
	c.history, c.failed = new(history), make(map[string]bool)
	c.receiver.history.Store(c.history)
	r := rand.New(rand.NewPCG(seed, 0))
	stop := c.load(seed)
	c.awaitAccepted()
	var outages []outage
	var ends []func()
	for _, f := range planned {
		o, end := f.begin(c, r)
		if end == nil {
			continue
		}
		for _, name := range o.nodes {
			c.failed[name] = true
		}
		o.fault = f.name
		outages, ends = append(outages, o), append(ends, end)
		time.Sleep(shortestFault/2 + time.Duration(r.Int64N(int64(longestFault-shortestFault)/2)))
	}
	time.Sleep(shortestFault / 2)
	for i, end := range ends {
		end()
		outages[i].to = time.Now()
		c.history.outage(outages[i])
	}
	c.awaitAccepted()
	c.awaitHealth()
	c.awaitAccepted()
	stop()
	c.drain()
	for i := range outages {
		c.t.Log(c.history.answers(&outages[i]))
	}
	return c.history.check()
}
