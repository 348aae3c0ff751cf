// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// connectTimeout is how long a server may take to accept a connection, and
	// as long again to answer on it.
	connectTimeout = time.Second
	// stallTimeout is how long a server may leave what is written to it in the
	// network before the connection is given up.
	stallTimeout = time.Second
	// A server that does not answer so many pings is given up.
	pingInterval = time.Second
	maxPings     = 2
)

// External is a store on a NATS server or cluster with JetStream (NATS 2.11
// or later).
type External struct {
	// URLs of the servers: nats://host:4222 or tls://host:4222.
	URLs []string
	// CredentialsFile is a .creds file (JWT and key), read again on each
	// connect.
	CredentialsFile string
	// User and Password, or Token, are the alternatives to CredentialsFile.
	User, Password, Token string
	// TLS, if not nil, is used for every connection.
	TLS *tls.Config
	// Replicas is how many servers store each notification: 1, 3 or 5. Default:
	// 3 if the cluster has as many, else 1.
	Replicas int
	// Durability is the minimum promise: [OnDisk], [OnReplicas] or
	// [AnyDurability]. Default [OnReplicas]. Below it Accept fails.
	Durability Durability
	// SyncInterval is the servers' sync_interval, if the operator states it:
	// [SyncAlways] or a duration.
	SyncInterval time.Duration
	// Monitoring are the URLs of the servers' monitoring endpoints.
	Monitoring []string
}

func (e *External) connect(d *dialer, opts ...nats.Option) (*nats.Conn, error) {
	opts = append(opts,
		nats.RetryOnFailedConnect(true),
		nats.IgnoreAuthErrorAbort(), // the server may get its users later
		nats.ReconnectWait(500*time.Millisecond),
		nats.Timeout(connectTimeout),
		nats.SetCustomDialer(d),
		nats.SkipHostLookup(), // which has no deadline; the dialer does it
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPings),
		nats.FlusherTimeout(stallTimeout),
	)
	if e.CredentialsFile != "" {
		opts = append(opts, nats.UserCredentials(e.CredentialsFile))
	}
	if e.User != "" {
		opts = append(opts, nats.UserInfo(e.User, e.Password))
	}
	if e.Token != "" {
		opts = append(opts, nats.Token(e.Token))
	}
	if e.TLS != nil {
		opts = append(opts, nats.Secure(e.TLS))
	}
	nc, err := nats.Connect(strings.Join(e.URLs, ","), opts...)
	if bad, ok := errors.AsType[*url.Error](err); ok {
		err = bad.Err // without the URL, which may hold a password
	}
	return nc, err
}

// dialer makes connections that end when they take nothing more, and can be
// ended without a lock of nats.go, which is held while somebody writes.
type dialer struct {
	current atomic.Pointer[conn]
}

// Dial is what nats.go calls to connect to a server.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	raw, err := (&net.Dialer{Timeout: connectTimeout}).Dial(network, address) //nolint:noctx // nats.go has none
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, since: time.Now()}
	d.current.Store(c)
	return c, nil
}

// since is when the present connection was made.
func (d *dialer) since() time.Time {
	if c := d.current.Load(); c != nil {
		return c.since
	}
	return time.Time{}
}

// cut ends the present connection: nats.go connects to the next server.
func (d *dialer) cut() {
	if c := d.current.Load(); c != nil {
		_ = c.Close()
	}
}

type conn struct {
	net.Conn
	since time.Time
}

// Write ends the connection if it fails: nats.go would go on with it.
func (c *conn) Write(b []byte) (int, error) {
	_ = c.SetWriteDeadline(time.Now().Add(stallTimeout))
	n, err := c.Conn.Write(b)
	if err != nil {
		_ = c.Close()
	}
	return n, err
}
