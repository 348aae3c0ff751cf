// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package doveadm talks to Dovecot's DoveAdm HTTP API.
//
// In goes a [Config] with one or several endpoints and a secret; out comes a
// [Client] with typed calls for METADATA entries, users and mailboxes, and a
// raw one for every other command. Calls go to the endpoints in turn. An
// endpoint that cannot serve leaves service, the call moves on to the next one
// where that is safe, and a probe brings the endpoint back.
//
// Dovecot 2.2.22 and later have the API. It needs a listener, and a secret:
//
//	service doveadm {
//	  inet_listener http {
//	    port = 8080
//	  }
//	}
//	doveadm_api_key = ...
package doveadm

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"time"
)

// Defaults of a [Config]; those of the connector of Open-Xchange.
const (
	DefaultTotalConnections = 100
	DefaultReadTimeout      = 10 * time.Second
	DefaultConnectTimeout   = 3 * time.Second
	DefaultCheckInterval    = 60 * time.Second
)

// Config is what a [Client] is made of. Endpoints, and one of APISecret and
// Password, are required.
type Config struct {
	// Endpoints are http or https URLs, such as http://imap1:8080/doveadm/v1.
	// Without a path it is /doveadm/v1. Credentials in them are an error.
	Endpoints []string
	// APISecret is the value of Dovecot's doveadm_api_key.
	APISecret string
	// Username and Password are the alternative to APISecret: HTTP Basic.
	// Dovecot takes the user name doveadm, which is the default, with its
	// doveadm_password.
	Username, Password string
	// TotalConnections is how many connections are open at a time, all
	// endpoints together. Dovecot closes each after one command and starts a
	// process for each, 100 at most by default. Default 100.
	TotalConnections int
	// MaxConnectionsPerRoute is how many of them go to one endpoint. Zero, the
	// default, and less divide TotalConnections evenly among the endpoints.
	MaxConnectionsPerRoute int
	// ReadTimeout is how long Dovecot may take to answer. Default 10 s.
	ReadTimeout time.Duration
	// ConnectTimeout is how long a connection may take to be made, with TLS.
	// Default 3 s.
	ConnectTimeout time.Duration
	// CheckInterval is how long after it left service an endpoint is asked
	// whether it is back, give or take a tenth. Default 60 s. While no
	// endpoint at all is in service, they are asked sooner.
	CheckInterval time.Duration
	// TLS is for https endpoints: certification authorities, and a client
	// certificate. Nil trusts the authorities of the operating system.
	TLS *tls.Config
	// Dial makes the connections. Default: a [net.Dialer].
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger is told when an endpoint leaves service and comes back.
	// Default: nobody is.
	Logger *slog.Logger
	// Observe is called after every request, from several goroutines.
	Observe func(Request)
}

// Request is one HTTP request that a client made.
type Request struct {
	// Endpoint is host and port.
	Endpoint string
	// Outcome is ok, or in a word why it failed. There are few of them.
	Outcome string
	// Took is how long it took, from the connection to the end of the answer.
	Took time.Duration
}

// EndpointState is an endpoint as it is now.
type EndpointState struct {
	// Address is host and port.
	Address string
	// InService tells whether calls go to it.
	InService bool
	// Reason is why it is out of service; nil if it is in service.
	Reason error
	// Since is when it left service or came back last; zero if it never left.
	Since time.Time
}

// Client is a connector to one or several endpoints that serve the same users.
// Its methods may be used concurrently. Their errors wrap one of the errors of
// this package, or the error of the context.
type Client struct{}

// New makes a client. It opens and starts nothing.
func New(cfg Config) (*Client, error) {
	if len(cfg.Endpoints) == 0 {
		return nil, errors.New("doveadm: no endpoint is given")
	}
	return new(Client), nil
}

// Close ends the probing of endpoints and fails later calls with [ErrShut].
// Calls under way are not cut off.
func (c *Client) Close() {}

// Endpoints returns the state of every endpoint.
func (c *Client) Endpoints() []EndpointState { return nil }

// MetadataGet returns the value of a METADATA entry of the user's server
// (RFC 5464), which is empty if there is none. The key begins with /private/ or
// /shared/.
func (c *Client) MetadataGet(ctx context.Context, user, key string) (value string, err error) {
	return "", ErrUnavailable
}

// MetadataGetMask returns the values of all users that the mask fits, by login,
// with an empty value where there is no entry. In masks * and ? are wildcards.
// Dovecot must be able to list its users. It takes the time of visiting each of
// them, which only ctx limits.
func (c *Client) MetadataGetMask(ctx context.Context, mask, key string) (map[string]string, error) {
	return nil, ErrUnavailable
}

// MetadataSet sets a METADATA entry.
func (c *Client) MetadataSet(ctx context.Context, user, key, value string) error {
	return ErrUnavailable
}

// MetadataUnset removes a METADATA entry. It is no error if there is none.
func (c *Client) MetadataUnset(ctx context.Context, user, key string) error { return ErrUnavailable }

// MetadataList returns the keys below a prefix that are set.
func (c *Client) MetadataList(ctx context.Context, user, prefix string) ([]string, error) {
	return nil, ErrUnavailable
}

// Users returns the logins that a mask fits.
func (c *Client) Users(ctx context.Context, mask string) ([]string, error) {
	return nil, ErrUnavailable
}

// MailboxStatus returns facts about a mailbox, by field: messages, unseen,
// uidnext, uidvalidity, highestmodseq, guid, …
func (c *Client) MailboxStatus(ctx context.Context, user, mailbox string, fields ...string) (map[string]string, error) {
	return nil, ErrUnavailable
}

// Raw executes any command and returns what Dovecot answered: the array of
// results.
func (c *Client) Raw(ctx context.Context, command string, parameters map[string]any) (json.RawMessage, error) {
	return nil, ErrUnavailable
}
