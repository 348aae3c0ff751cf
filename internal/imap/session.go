// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package imap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/emersion/go-sasl"
)

// Session is a connection that somebody signed in on. It is used by one
// goroutine.
type Session struct {
	ctx    context.Context //nolint:containedctx // it lives as long as the call of Do
	client *imapclient.Client
	conn   net.Conn
	bound  *boundedConn
	stop   func() bool // closing the connection when ctx ends
}

// farewell is how long a server may take to say good-bye.
const farewell = time.Second

// open connects, up to the greeting of the server, and notes whether it answers.
func (s *Server) open(ctx context.Context) (*Session, error) {
	session, err := s.connect(ctx)
	if !errors.Is(ctx.Err(), context.Canceled) { // which says nothing about the server
		s.silent.Store(err != nil)
	}
	return session, err
}

func (s *Server) connect(ctx context.Context) (*Session, error) {
	connect, cancel := context.WithTimeout(ctx, s.connectTimeout)
	defer cancel()
	tcp, err := new(net.Dialer).DialContext(connect, "tcp", s.address)
	if err != nil {
		return nil, err
	}
	bound := &boundedConn{Conn: tcp}
	bound.left.Store(maxAnswers)
	var conn net.Conn = bound
	// The library sets deadlines of its own; the context is ours.
	session := &Session{ctx: ctx, conn: tcp, bound: bound, stop: context.AfterFunc(ctx, func() { _ = tcp.Close() })}
	fail := func(err error) (*Session, error) {
		session.stop()
		_ = tcp.Close()
		switch {
		case ctx.Err() != nil:
			err = ctx.Err()
		case connect.Err() != nil:
			err = errConnectTimeout
		}
		return nil, err
	}
	abandon := context.AfterFunc(connect, func() { _ = tcp.Close() })
	switch s.security {
	case implicitTLS:
		secured := tls.Client(conn, s.tls)
		if err := secured.HandshakeContext(connect); err != nil {
			return fail(err)
		}
		session.client = imapclient.New(secured, nil)
	case startTLS:
		if session.client, err = imapclient.NewStartTLS(conn, &imapclient.Options{TLSConfig: s.tls}); err != nil {
			return fail(fmt.Errorf("STARTTLS: %w", err))
		}
	case plaintext:
		session.client = imapclient.New(conn, nil)
	}
	if err := session.client.WaitGreeting(); err != nil {
		_ = session.client.Close()
		return fail(fmt.Errorf("greeting: %w", err))
	}
	if !abandon() {
		_ = session.client.Close()
		return fail(errConnectTimeout)
	}
	return session, nil
}

var (
	errConnectTimeout = errors.New("connecting took too long")
	errNoPlain        = errors.New("it offers no SASL PLAIN on this connection")
)

// close ends the connection, and says good-bye before if somebody signed in.
func (s *Session) close() {
	if s.client.State() == goimap.ConnStateAuthenticated {
		enough := time.AfterFunc(farewell, func() { _ = s.conn.Close() })
		_ = s.client.Logout().Wait()
		enough.Stop()
	}
	_ = s.client.Close()
	s.stop()
}

func (s *Session) authenticate(login Login) error {
	user, identity := login.User, ""
	if login.Master != "" {
		user, identity = login.Master, login.User
	}
	if login.User == "" || login.Password == "" || strings.Contains(login.User+login.Master+login.Password, "\x00") {
		return ErrCredentials // the separator of SASL PLAIN
	}
	if s.client.State() != goimap.ConnStateNotAuthenticated {
		return fmt.Errorf("%w: it greets as somebody who has signed in (PREAUTH)", ErrUnavailable)
	}
	if !s.client.Caps().Has(goimap.AuthCap(sasl.Plain)) {
		return connectionError(s.ctx, errNoPlain)
	}
	if err := s.client.Authenticate(sasl.NewPlainClient(identity, user, login.Password)); err != nil {
		return loginError(s.ctx, err)
	}
	return nil
}

// Metadata returns the value of a server entry of the user. One that is not
// set is empty, as is one that is set to nothing.
func (s *Session) Metadata(name string) (string, error) {
	if err := s.needMetadata(); err != nil {
		return "", err
	}
	data, err := s.client.GetMetadata("", []string{name}, nil).Wait()
	if err != nil {
		return "", metadataError(s.ctx, "GETMETADATA", err)
	}
	for entry, value := range data.Entries {
		if strings.EqualFold(entry, name) && value != nil {
			return string(*value), nil
		}
	}
	return "", nil
}

// SetMetadata sets a server entry of the user.
func (s *Session) SetMetadata(name, value string) error {
	bytes := []byte(value)
	return s.storeMetadata(name, &bytes)
}

// UnsetMetadata removes a server entry of the user; it is no error if there is
// none.
func (s *Session) UnsetMetadata(name string) error { return s.storeMetadata(name, nil) }

func (s *Session) storeMetadata(name string, value *[]byte) error {
	if err := s.needMetadata(); err != nil {
		return err
	}
	err := s.client.SetMetadata("", map[string]*[]byte{name: value}).Wait()
	return metadataError(s.ctx, "SETMETADATA", err)
}

func (s *Session) needMetadata() error {
	caps := s.client.Caps()
	switch {
	case caps == nil:
		return connectionError(s.ctx, errors.New("it does not tell its capabilities"))
	case caps.Has(goimap.CapMetadata), caps.Has(goimap.CapMetadataServer):
		return nil
	default:
		return ErrNoMetadata
	}
}
