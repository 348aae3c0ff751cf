// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package imap is a small IMAP client: it checks mail logins ([Server.Login]),
// and with a [Session] ([Server.Do]) it reads and changes server METADATA
// entries (RFC 5464) of users, reads their INBOX, and marks and moves messages.
//
// Errors are typed: wrong credentials, an unknown user, METADATA that is not
// enabled, or a server that cannot be reached right now. Each call opens its
// own connection, which is closed when it returns.
package imap

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-sasl"

	"github.com/dovecotpush/caddy-dovecot-push/internal/cafile"
)

// Defaults of a Config.
const (
	DefaultConnectTimeout = 5 * time.Second
	DefaultTimeout        = 20 * time.Second
)

// Config tells where the IMAP server is and how it is talked to.
type Config struct {
	// URL is imaps://host[:993] for TLS from the start, or imap://host[:143]
	// for STARTTLS. An imap URL of a loopback address, or with Plaintext, means
	// no TLS at all.
	URL string
	// CAFile is a PEM file with the certificates of the CAs that may have signed
	// the server's. Default: those of the operating system.
	CAFile string
	// Plaintext sends passwords without TLS to a server that is not on a
	// loopback address.
	Plaintext bool
	// ConnectTimeout bounds connecting, TLS included. Default:
	// [DefaultConnectTimeout].
	ConnectTimeout time.Duration
	// Timeout bounds a whole call. Dovecot takes 2 s to refuse a login, and
	// longer if there were several. Default: [DefaultTimeout].
	Timeout time.Duration
}

// Server is an IMAP server. It is safe for concurrent use.
type Server struct {
	address                 string
	security                security
	tls                     *tls.Config
	connectTimeout, timeout time.Duration
	// silent tells that it did not answer when it was connected to last.
	silent atomic.Bool
}

// security is how a connection is protected.
type security uint8

const (
	implicitTLS security = iota
	startTLS
	plaintext
)

// New reads the configuration; it connects to nothing.
func New(cfg Config) (*Server, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, errors.New("the URL of the IMAP server cannot be read") // it may hold a password
	}
	if u.User != nil {
		return nil, errors.New("the URL of the IMAP server cannot hold a login")
	}
	if u.Hostname() == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("the URL of the IMAP server must be imaps://host[:port] or imap://host[:port], not %q", cfg.URL)
	}
	s := &Server{
		connectTimeout: cfg.ConnectTimeout, timeout: cfg.Timeout,
		tls: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname(), NextProtos: []string{"imap"}},
	}
	if s.connectTimeout <= 0 {
		s.connectTimeout = DefaultConnectTimeout
	}
	if s.timeout <= 0 {
		s.timeout = DefaultTimeout
	}
	port := u.Port()
	switch u.Scheme {
	case "imaps":
		s.security = implicitTLS
		if port == "" {
			port = "993"
		}
	case "imap":
		s.security = startTLS
		if cfg.Plaintext || isLoopback(u.Hostname()) {
			s.security = plaintext
		}
		if port == "" {
			port = "143"
		}
	default:
		return nil, fmt.Errorf("the URL of the IMAP server must begin with imaps:// or imap://, not %q", u.Scheme)
	}
	s.address = net.JoinHostPort(u.Hostname(), port)
	if cfg.CAFile != "" {
		if s.tls.RootCAs, err = cafile.Pool(cfg.CAFile); err != nil {
			return nil, fmt.Errorf("CA file of the IMAP server: %w", err)
		}
	}
	return s, nil
}

// isLoopback does not look names up: somebody else may answer for them.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Login checks the mail login of a user. The error wraps [ErrCredentials] if it
// is wrong, and [ErrUnavailable] or [ErrAccount] if that could not be found out.
func (s *Server) Login(ctx context.Context, user, password string) error {
	return s.Do(ctx, Login{User: user, Password: password}, func(*Session) error { return nil })
}

// Probe connects, up to the greeting, and looks whether logins would be taken on
// the connection. The error wraps [ErrUnavailable].
func (s *Server) Probe(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	session, err := s.open(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer session.close()
	if !session.client.Caps().Has(goimap.AuthCap(sasl.Plain)) {
		return connectionError(ctx, errNoPlain)
	}
	return nil
}

// Answers reports whether the server answered when it was connected to last.
func (s *Server) Answers() bool { return !s.silent.Load() }

// Takes reports whether a password that is right for one login is so for another
// one, or for a master user who signs in for the user.
func (s *Server) Takes(ctx context.Context, login Login) (bool, error) {
	err := s.Do(ctx, login, func(*Session) error { return nil })
	if errors.Is(err, ErrCredentials) || errors.Is(err, ErrNoSuchUser) {
		return false, nil
	}
	return err == nil, err
}

// Login is who a session is for.
type Login struct {
	// User is the one whose mail it is.
	User string
	// Master, if set, signs in for the user with a password of its own: it is
	// the authentication identity of SASL PLAIN (RFC 4616), and User the
	// authorization identity. Dovecot takes that as soon as it has a passdb
	// with master=yes. The form user*master is another one, which needs
	// auth_master_user_separator there, and does as well: as User, with
	// the password of the master user and no Master.
	Master string
	// Password is that of Master, or of User if there is none.
	Password string
}

// Do signs in and calls f. The connection ends when f returns, at the latest
// when ctx ends.
func (s *Server) Do(ctx context.Context, login Login, f func(*Session) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	session, err := s.open(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	defer session.close()
	if err := session.authenticate(login); err != nil {
		return err
	}
	return f(session)
}
