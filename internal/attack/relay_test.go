// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"io"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay hands connections on to a server, and can be closed in each way that a
// network can be.
type relay struct {
	address, server string

	mu       sync.Mutex
	listener net.Listener
	state    relayState
	conns    map[net.Conn]struct{}
}

type relayState int

const (
	works   relayState = iota
	refuses            // connections are refused
	resets             // they are taken and closed at once
	hangs              // they are taken, and nothing ever comes
)

func startRelay(t *testing.T, server string) *relay {
	t.Helper()
	r := &relay{address: freeAddress(t), server: server, conns: make(map[net.Conn]struct{})}
	require.NoError(t, r.listen())
	t.Cleanup(func() { _ = r.become(refuses) })
	return r
}

// become changes how the relay is, and ends all connections.
func (r *relay) become(state relayState) error {
	r.mu.Lock()
	for conn := range r.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // a reset
		}
		_ = conn.Close()
	}
	clear(r.conns)
	r.state = state
	listener := r.listener
	if state == refuses {
		r.listener = nil
	}
	r.mu.Unlock()
	switch {
	case state == refuses && listener != nil:
		return listener.Close()
	case state != refuses && listener == nil:
		return r.listen()
	}
	return nil
}

func (r *relay) listen() error {
	l, err := net.Listen("tcp", r.address)
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.listener = l
	r.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return nil
}

func (r *relay) serve(conn net.Conn) {
	defer r.forget(conn)
	if !r.note(conn) {
		return
	}
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		return
	}
	defer r.forget(server)
	if !r.note(server) {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(server, conn)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, server)
	_ = conn.(*net.TCPConn).CloseWrite()
	<-done
}

// note takes a connection in, and reports whether it is to be served.
func (r *relay) note(conn net.Conn) bool {
	r.mu.Lock()
	state := r.state
	if state == works || state == hangs {
		r.conns[conn] = struct{}{}
	}
	r.mu.Unlock()
	if state == hangs {
		_, _ = io.Copy(io.Discard, conn)
	}
	return state == works
}

func (r *relay) forget(conn net.Conn) {
	r.mu.Lock()
	delete(r.conns, conn)
	r.mu.Unlock()
	_ = conn.Close()
}
