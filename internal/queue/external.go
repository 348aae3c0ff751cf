// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
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
	// Replicas is how many servers keep each notification: 1, 3 or 5.
	// Default 1.
	Replicas int
}

func (e *External) connect(log *slog.Logger, opts ...nats.Option) (*nats.Conn, error) {
	opts = append(opts,
		nats.Name("dovecot_push"),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.IgnoreAuthErrorAbort(), // the server may get its users later
		nats.ReconnectWait(500*time.Millisecond),
		nats.WriteBufferSize(directWrite),
		nats.ReconnectBufSize(-1), // see embeddedServer.connect
		nats.ReconnectHandler(func(nc *nats.Conn) {
			log.Info("connected to the NATS server of the queue again", "server", nc.ConnectedServerName())
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			log.Error("the NATS server of the queue reports an error", "error", err)
		}),
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
