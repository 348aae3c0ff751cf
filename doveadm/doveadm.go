// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package doveadm is a client of the DoveAdm HTTP API of Dovecot 2.2.22 and
// later.
//
// A [Client] has typed calls for METADATA entries, users and mailboxes, and a
// raw one for every other command. Calls are distributed round robin to the
// endpoints in service. An endpoint that does not answer a probe leaves
// service. A failed call fails over to the next endpoint if that is safe. A
// successful probe puts the endpoint back into service.
//
// Dovecot needs a listener and a secret:
//
//	service doveadm {
//	  inet_listener http {
//	    port = 8080
//	  }
//	}
//	doveadm_api_key = <secret>
//
// The secret permits everything, including reading and deleting mail. Dovecot's
// setting doveadm_allowed_commands limits it to the necessary commands.
package doveadm

import (
	"context"
	"sync"
)

// Client is a connector to one or several endpoints. Its methods may be used
// concurrently. Their errors wrap one of the errors of this package, or that of
// the context.
type Client struct {
	cfg           Config
	authorization string
	pool          *pool

	ctx    context.Context // of the probes
	cancel context.CancelFunc
	probes sync.WaitGroup
}

// New makes a client. It connects to nothing and starts nothing.
func New(cfg Config) (*Client, error) {
	endpoints, err := cfg.newEndpoints()
	if err != nil {
		return nil, err
	}
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	perRoute := cfg.MaxConnectionsPerRoute
	if perRoute <= 0 {
		perRoute = max(1, cfg.TotalConnections/len(endpoints))
	}
	c := &Client{
		cfg:           cfg,
		authorization: cfg.authorization(),
		pool:          &pool{endpoints: endpoints, total: cfg.TotalConnections, perRoute: perRoute},
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c, nil
}

// Close ends the probing of endpoints that are out of service. Later calls fail
// with [ErrClientClosed]. Those under way are not cut off: they end with their
// context or the timeouts.
func (c *Client) Close() {
	c.pool.close()
	c.cancel()
	c.probes.Wait()
}

// Endpoints returns the state of every endpoint, in the order of the
// configuration.
func (c *Client) Endpoints() []EndpointState { return c.pool.states() }
