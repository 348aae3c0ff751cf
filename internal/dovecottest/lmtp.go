// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// lmtpTimeout bounds one delivery. It is long because Dovecot 2.4.0 to 2.4.3
// answers only after an endpoint was given 60 s, if not told otherwise.
const lmtpTimeout = 150 * time.Second

// LMTPSession is one connection to an LMTP service (RFC 2033) that takes any
// number of deliveries, one after another. It is not safe for concurrent use.
type LMTPSession struct {
	conn net.Conn
	text *textproto.Conn
}

// OpenLMTP opens a session with the LMTP service at the address: host and port,
// or the path of a Unix socket.
func OpenLMTP(addr string) (*LMTPSession, error) {
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	conn, err := net.DialTimeout(network, addr, 10*time.Second)
	if err != nil {
		return nil, fmt.Errorf("lmtp: %w", err)
	}
	l := &LMTPSession{conn: conn, text: textproto.NewConn(conn)}
	l.extendDeadline()
	if _, _, err = l.text.ReadResponse(220); err == nil {
		err = l.command(250, "LHLO localhost")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lmtp: greeting: %w", err), l.text.Close())
	}
	return l, nil
}

// OpenLMTP opens a session with the server.
func (s *Server) OpenLMTP() (*LMTPSession, error) { return OpenLMTP(s.LMTPAddr()) }

// Deliver delivers a message in a session of its own. See LMTPSession.Deliver.
func (s *Server) Deliver(from string, to []string, message []byte) (time.Duration, error) {
	session, err := s.OpenLMTP()
	if err != nil {
		return 0, err
	}
	took, err := session.Deliver(from, to, message)
	return took, errors.Join(err, session.Close())
}

// Deliver delivers a message to the recipients and returns how long it took,
// from MAIL FROM to the reply for the last recipient. The error joins what was
// said about each recipient that did not get the message: those hold a
// *textproto.Error, and the session can go on after them. Line ends of the
// message may be LF or CRLF.
func (l *LMTPSession) Deliver(from string, to []string, message []byte) (time.Duration, error) {
	l.extendDeadline()
	start := time.Now()
	if err := l.command(250, "MAIL FROM:<%s>", from); err != nil {
		return 0, fmt.Errorf("lmtp: MAIL FROM: %w", err)
	}
	var accepted []int // numbers of recipients, from 1
	var failures []error
	note := func(recipient int, err error) error {
		if refused := (*textproto.Error)(nil); err != nil && !errors.As(err, &refused) {
			return fmt.Errorf("lmtp: recipient %d of %d: %w", recipient, len(to), err)
		} else if err != nil {
			failures = append(failures, fmt.Errorf("lmtp: recipient %d of %d: %w", recipient, len(to), err))
		}
		return nil
	}
	for i, recipient := range to {
		err := l.command(250, "RCPT TO:<%s>", recipient)
		if err == nil {
			accepted = append(accepted, i+1)
		} else if broken := note(i+1, err); broken != nil {
			return 0, broken
		}
	}
	if len(accepted) == 0 {
		failures = append(failures, l.command(250, "RSET"))
		return time.Since(start), errors.Join(failures...)
	}
	if err := l.command(354, "DATA"); err != nil {
		return 0, fmt.Errorf("lmtp: DATA: %w", err)
	}
	data := l.text.DotWriter()
	_, err := data.Write(message)
	if err := errors.Join(err, data.Close()); err != nil {
		return 0, fmt.Errorf("lmtp: sending the message: %w", err)
	}
	for _, recipient := range accepted {
		_, _, err := l.text.ReadResponse(250)
		if broken := note(recipient, err); broken != nil {
			return 0, broken
		}
	}
	return time.Since(start), errors.Join(failures...)
}

// Close ends the session.
func (l *LMTPSession) Close() error {
	l.extendDeadline()
	return errors.Join(l.command(221, "QUIT"), l.text.Close())
}

func (l *LMTPSession) extendDeadline() { _ = l.conn.SetDeadline(time.Now().Add(lmtpTimeout)) }

func (l *LMTPSession) command(want int, format string, args ...any) error {
	if err := l.text.PrintfLine(format, args...); err != nil {
		return err
	}
	_, _, err := l.text.ReadResponse(want)
	return err
}
