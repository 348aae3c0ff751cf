// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
)

// network is some hosts with a Dovecot each, in memory, so that time can be
// virtual.
type network struct {
	hosts map[string]*host // by address
	log   strings.Builder  // of the client
	seen  struct {
		sync.Mutex
		requests []doveadm.RequestInfo
	}
}

// host is one Dovecot, at first one that serves.
type host struct {
	*doveadmtest.Dovecot
	listener *pipeListener
	server   *http.Server

	mu   sync.Mutex
	mode mode
}

type mode int

const (
	up        mode = iota
	refusing       // connections
	swallowed      // packets disappear
)

func (h *host) set(m mode) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mode = m
}

// answer makes every command get a status.
func (h *host) answer(status int) {
	h.Interfere(func(w http.ResponseWriter, _ *http.Request, command string) bool {
		if command == "" {
			return false
		}
		w.WriteHeader(status)
		return true
	})
}

// hang makes every command wait until the client gives up.
func (h *host) hang() {
	h.Interfere(func(_ http.ResponseWriter, r *http.Request, command string) bool {
		if command != "" {
			<-r.Context().Done()
		}
		return command != ""
	})
}

// freeze makes every request wait until the client gives up.
func (h *host) freeze() {
	h.Interfere(func(_ http.ResponseWriter, r *http.Request, _ string) bool {
		<-r.Context().Done()
		return true
	})
}

// answerAll makes every request get a status.
func (h *host) answerAll(status int) {
	h.Interfere(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
		w.WriteHeader(status)
		return true
	})
}

// newNetwork makes hosts with the users alice and bob, and a client of all.
func newNetwork(t *testing.T, cfg doveadm.Config, names ...string) (*network, *doveadm.Client) {
	t.Helper()
	n := &network{hosts: make(map[string]*host)}
	for _, name := range names {
		h := &host{
			Dovecot:  doveadmtest.NewDovecot(doveadmtest.Config{Users: []string{alice, bob}}),
			listener: &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})},
		}
		h.server = &http.Server{Handler: h.Dovecot, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
		var wg sync.WaitGroup
		wg.Go(func() { _ = h.server.Serve(h.listener) })
		t.Cleanup(func() {
			h.server.Close()
			wg.Wait()
		})
		n.hosts[name+":8080"] = h
		cfg.Endpoints = append(cfg.Endpoints, "http://"+name+":8080/doveadm/v1")
	}
	if cfg.APISecret == "" {
		cfg.APISecret = doveadmtest.DefaultAPISecret
	}
	cfg.Dial = n.dial
	cfg.Logger = slog.New(slog.NewTextHandler(&n.log, nil))
	cfg.Observe = func(r doveadm.RequestInfo) {
		n.seen.Lock()
		defer n.seen.Unlock()
		n.seen.requests = append(n.seen.requests, r)
	}
	return n, newClient(t, cfg)
}

func (n *network) host(name string) *host { return n.hosts[name+":8080"] }

// outcomes are those of all requests until now, as "a:ok b:closed".
func (n *network) outcomes() string {
	n.seen.Lock()
	defer n.seen.Unlock()
	words := make([]string, len(n.seen.requests))
	for i, r := range n.seen.requests {
		words[i] = strings.TrimSuffix(r.Endpoint, ":8080") + ":" + r.Outcome
	}
	n.seen.requests = nil
	return strings.Join(words, " ")
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	h := n.hosts[address]
	h.mu.Lock()
	m := h.mode
	h.mu.Unlock()
	switch m {
	case up:
	case refusing:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case swallowed:
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: ctx.Err()}
	}
	client, server := net.Pipe()
	select {
	case h.listener.conns <- server:
		return client, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
