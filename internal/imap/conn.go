// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package imap

import (
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// maxAnswers is how much a server may say on one connection, in bytes. A login
// and an entry take some 2 KiB.
const maxAnswers = 1 << 20

var errTooMuch = errors.New("the server says too much")

// boundedConn bounds what is read from a server, whatever literals it
// announces. Deadlines are ignored: the context of a call closes the
// connection.
type boundedConn struct {
	net.Conn
	left atomic.Int64
}

func (c *boundedConn) Read(p []byte) (int, error) {
	left := c.left.Load()
	if left <= 0 {
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), left)])
	c.left.Add(-int64(n))
	return n, err
}

func (*boundedConn) SetDeadline(time.Time) error      { return nil }
func (*boundedConn) SetReadDeadline(time.Time) error  { return nil }
func (*boundedConn) SetWriteDeadline(time.Time) error { return nil }
