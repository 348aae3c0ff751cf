// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package doveadmtest is a DoveAdm HTTP API without a Dovecot, for unit tests.
//
// A [Server] answers the commands for METADATA entries, users, mailbox status and
// messages as Dovecot 2.3 and 2.4 do, including closed connections. Of messages it
// has UID, GUID and flags. Tests can stop it, make it fail and inspect its requests. The tests of package doveadm
// run the same cases on it and on real Dovecots.
package doveadmtest

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
)

// DefaultAPISecret is the secret of a server whose Config names none.
const DefaultAPISecret = "doveadm-api-secret" //nolint:gosec // it is for tests

// Config is what a [Dovecot] is made of. The zero Config is valid, and has no
// users.
type Config struct {
	// APISecret is the doveadm_api_key. Default: DefaultAPISecret.
	APISecret string
	// Password, if set, is the doveadm_password.
	Password string
	// Users are the logins, in the order in which they are visited.
	Users []string
	// AllowedCommands are the doveadm_allowed_commands, written with blanks,
	// such as "mailbox metadata set". Default: all.
	AllowedCommands []string
	// NoAttributeDict leaves METADATA without a dictionary.
	NoAttributeDict bool
	// NoIteration makes it unable to list its users.
	NoIteration bool
}

// Server serves a [Dovecot] at a port of 127.0.0.1.
type Server struct {
	*Dovecot
	address string
	http    *httptest.Server // nil while it is down
}

// Start starts a server that ends with the test.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	s := NewServer(cfg)
	t.Cleanup(s.Down)
	return s
}

// NewServer starts a server; [Server.Down] ends it. It panics if there is no
// port to be had.
func NewServer(cfg Config) *Server {
	s := &Server{Dovecot: NewDovecot(cfg), address: "127.0.0.1:0"}
	if err := s.Up(); err != nil {
		panic(err)
	}
	return s
}

// URL is the endpoint.
func (s *Server) URL() string { return "http://" + s.address + doveadm.DefaultPath }

// Client returns a client of this server alone, which ends with the test.
func (s *Server) Client(t testing.TB) *doveadm.Client {
	t.Helper()
	c, err := doveadm.New(doveadm.Config{Endpoints: []string{s.URL()}, APISecret: s.secret})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// Up makes a server that is down listen again at the port that it had.
func (s *Server) Up() error {
	if s.http != nil {
		return errors.New("doveadmtest: the server is up")
	}
	listener, err := net.Listen("tcp", s.address)
	if err != nil {
		return err
	}
	s.address = listener.Addr().String()
	s.http = &httptest.Server{Listener: listener, Config: &http.Server{Handler: s.Dovecot, ReadHeaderTimeout: time.Minute}}
	s.http.Start()
	return nil
}

// Down makes the server refuse connections, and breaks those that are open.
// What it knows of its users stays.
func (s *Server) Down() {
	if s.http == nil {
		return
	}
	s.http.CloseClientConnections()
	s.http.Close()
	s.http = nil
}
