// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// natsProxy stands between a queue and a real server, and does to the
// connection what a server or a network does only now and then.
type natsProxy struct {
	listener net.Listener
	server   string

	mu      sync.Mutex
	pairs   []*proxied
	silent  chan struct{} // closed unless nothing gets through
	refuses bool
	changes atomic.Pointer[strings.Replacer] // what is said, keeping its length
}

type proxied struct {
	client, server net.Conn
	toClient       sync.Mutex // whole writes only
}

func newNATSProxy(t testing.TB, server string) *natsProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &natsProxy{listener: listener, server: server, silent: make(chan struct{})}
	close(p.silent)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.serve(client) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		p.speak()
		p.mu.Lock()
		p.refuses = true
		p.mu.Unlock()
		p.cut()
		wg.Wait()
	})
	return p
}

func (p *natsProxy) url() string { return "nats://" + p.listener.Addr().String() }

func (p *natsProxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	pair := &proxied{client: client, server: server}
	p.mu.Lock()
	if p.refuses {
		p.mu.Unlock()
		return
	}
	p.pairs = append(p.pairs, pair)
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() {
		defer client.Close()
		p.pump(client, func(b []byte) error { _, err := server.Write(b); return err })
	})
	wg.Go(func() {
		defer server.Close()
		p.pump(server, pair.answer)
	})
	wg.Wait()
}

func (p *natsProxy) pump(from io.Reader, write func([]byte) error) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		silent := p.silent
		p.mu.Unlock()
		<-silent
		if changes := p.changes.Load(); changes != nil {
			copy(buffer, changes.Replace(string(buffer[:n])))
		}
		if n > 0 && write(buffer[:n]) != nil || err != nil {
			return
		}
	}
}

func (pair *proxied) answer(b []byte) error {
	pair.toClient.Lock()
	defer pair.toClient.Unlock()
	_, err := pair.client.Write(b)
	return err
}

func (p *natsProxy) each(f func(*proxied)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pair := range p.pairs {
		f(pair)
	}
}

// say sends a line to the clients, as if the server did.
func (p *natsProxy) say(line string) {
	p.each(func(pair *proxied) { _ = pair.answer([]byte(line + "\r\n")) })
}

// ask sends a line to the server, as if the clients did.
func (p *natsProxy) ask(line string) {
	p.each(func(pair *proxied) { _, _ = io.WriteString(pair.server, line+"\r\n") })
}

// hush lets nothing through any more, in either direction, and ends nothing:
// as if the power of the server was cut. New connections hang as well.
func (p *natsProxy) hush() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = make(chan struct{})
}

func (p *natsProxy) speak() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.silent:
	default:
		close(p.silent)
	}
}

// cut ends all connections.
func (p *natsProxy) cut() {
	p.each(func(pair *proxied) { _, _ = pair.client.Close(), pair.server.Close() })
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pairs = nil
}
