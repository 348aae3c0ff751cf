// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"
)

// Defaults of a [Config]. They are those that Open-Xchange documents for its own
// connector.
const (
	DefaultTotalConnections = 100
	DefaultReadTimeout      = 10 * time.Second
	DefaultConnectTimeout   = 3 * time.Second
	DefaultCheckInterval    = 60 * time.Second
)

const (
	// DefaultPath is the path of the API, the only one that Dovecot knows.
	DefaultPath = "/doveadm/v1"
	// DefaultUsername is the only user name that Dovecot takes with HTTP Basic.
	DefaultUsername = "doveadm"
)

// Config is what a [Client] is made of. Endpoints and a secret are required;
// everything else has a default.
type Config struct {
	// Endpoints are URLs of http or https, such as
	// http://imap1:8080/doveadm/v1. They serve the same users. A URL without a
	// path gets DefaultPath; one with credentials or a query is an error.
	Endpoints []string
	// APISecret is Dovecot's doveadm_api_key.
	APISecret string
	// Username and Password are the alternative to APISecret, HTTP Basic:
	// DefaultUsername, which may be left out, and Dovecot's doveadm_password.
	Username, Password string
	// TotalConnections is how many connections are open at a time, to all
	// endpoints together. Dovecot takes one command on each and starts a
	// process for each, 100 at most if nothing else is configured. Further
	// calls wait. Default 100.
	TotalConnections int
	// MaxConnectionsPerRoute is how many of them go to one endpoint. Zero, the
	// default, and less divide TotalConnections evenly among the endpoints.
	MaxConnectionsPerRoute int
	// ReadTimeout is how long Dovecot may take to answer. Calls with a mask
	// visit many users, and are not limited by it. Default 10 s.
	ReadTimeout time.Duration
	// ConnectTimeout is how long it may take to connect, TLS included.
	// Default 3 s.
	ConnectTimeout time.Duration
	// CheckInterval is how long an endpoint stays out of service before it is
	// asked whether it is back, give or take a tenth. While none at all is in
	// service they are asked sooner, after 1, 2, 4 s and so on. Default 60 s.
	CheckInterval time.Duration
	// TLS is for https endpoints: certification authorities, a client
	// certificate. Nil trusts the authorities of the operating system.
	TLS *tls.Config
	// Dial makes the connections. Default: that of a net.Dialer. Proxies of
	// the environment are not used.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Logger logs when endpoints leave service and come back. Default: none.
	Logger *slog.Logger
	// Observe is called after every request, concurrently.
	Observe func(RequestInfo)
}

// RequestInfo is one request of a command to one endpoint.
type RequestInfo struct {
	// Endpoint is host and port.
	Endpoint string
	// Outcome is ok, or one word for why it failed, out of some twenty.
	Outcome string
	// Took is the time from before the connection to the end of the answer.
	Took time.Duration
}

// setDefaults fills in what is missing. It fails if something required is
// missing, or contradicts something else. The error tells no secret.
func (c *Config) setDefaults() error {
	switch {
	case c.APISecret == "" && c.Password == "":
		return errors.New("doveadm: no secret is given: Dovecot's doveadm_api_key, or its doveadm_password for HTTP Basic")
	case c.APISecret != "" && (c.Username != "" || c.Password != ""):
		return errors.New("doveadm: an API secret and a user name with password are both given: Dovecot takes one of them")
	case c.TotalConnections < 0 || c.ReadTimeout < 0 || c.ConnectTimeout < 0 || c.CheckInterval < 0:
		return errors.New("doveadm: the number of connections, the timeouts and the check interval cannot be negative")
	}
	if c.Username == "" {
		c.Username = DefaultUsername
	}
	setDefault(&c.TotalConnections, DefaultTotalConnections)
	setDefault(&c.ReadTimeout, DefaultReadTimeout)
	setDefault(&c.ConnectTimeout, DefaultConnectTimeout)
	setDefault(&c.CheckInterval, DefaultCheckInterval)
	if c.Dial == nil {
		c.Dial = new(net.Dialer).DialContext
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(RequestInfo) {}
	}
	return nil
}

func setDefault[T comparable](to *T, value T) {
	var zero T
	if *to == zero {
		*to = value
	}
}

// authorization is the field that every request has.
func (c *Config) authorization() string {
	if c.APISecret != "" {
		return "X-Dovecot-API " + base64.StdEncoding.EncodeToString([]byte(c.APISecret))
	}
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password))
}

// newEndpoints reads the URLs. The error shows nothing of one that may hold
// credentials.
func (c *Config) newEndpoints() ([]*endpoint, error) {
	if len(c.Endpoints) == 0 {
		return nil, errors.New("doveadm: no endpoint is given, such as http://imap1:8080/doveadm/v1")
	}
	endpoints := make([]*endpoint, len(c.Endpoints))
	for i, raw := range c.Endpoints {
		u, err := url.Parse(raw)
		switch {
		case err != nil:
			return nil, fmt.Errorf("doveadm: endpoint %d is no URL", i+1)
		case u.User != nil:
			return nil, fmt.Errorf("doveadm: endpoint %d has credentials in its URL, where they would be shown: give the secret apart from it", i+1)
		case u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
			return nil, fmt.Errorf("doveadm: endpoint %d must be like http://imap1:8080/doveadm/v1, with http or https and a host", i+1)
		case u.RawQuery != "" || u.Fragment != "":
			return nil, fmt.Errorf("doveadm: endpoint %d has a query or a fragment, which Dovecot has no use for", i+1)
		}
		if u.Path == "" || u.Path == "/" {
			u.Path = DefaultPath
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		endpoints[i] = &endpoint{url: u, address: net.JoinHostPort(u.Hostname(), port), alarm: make(chan struct{}, 1)}
		for _, other := range endpoints[:i] {
			if other.address == endpoints[i].address {
				return nil, fmt.Errorf("doveadm: endpoint %s is given twice", other.address)
			}
		}
	}
	return endpoints, nil
}
