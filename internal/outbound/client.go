// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Config of a client.
type Config struct {
	// Policy is the rule. Required.
	Policy *Policy
	// RootCAs are who may have signed the certificates. Default: the
	// system's.
	RootCAs *x509.CertPool
	// Proxy that every request goes through. It resolves the names, so it
	// has to refuse what must not be reached; only URLs are judged here.
	// Default: none, whatever the environment says.
	Proxy *url.URL
	// Connections to one host and port at most. 0: no limit. HTTP/2, which
	// push services speak, has many requests on one connection.
	Connections int
	// HTTP2 means that nothing but HTTP/2 is spoken, over TLS.
	HTTP2 bool
	// Resolver of host names. Default: Go's.
	Resolver *net.Resolver
}

// Bounds of a connection. Requests are bounded by their contexts.
const (
	connectTimeout = 10 * time.Second
	idleTimeout    = 90 * time.Second
	// A connection of HTTP/2 that is silent for that long is asked whether
	// it is alive, so that one that was cut does not swallow requests.
	silence    = 15 * time.Second
	maxHeaders = 64 << 10
	idlePer    = 64
)

// NewClient returns a client that keeps to the policy. Answers are as they
// come, redirects included; bodies are not decompressed and must be read with
// a bound. Errors of its own making are a [*RefusedError]; see [Failure] for
// all of them.
func NewClient(cfg Config) *http.Client {
	d := &dialer{Policy: cfg.Policy, resolver: cfg.Resolver}
	t := &http.Transport{
		DialContext:            d.dial,
		TLSClientConfig:        &tls.Config{RootCAs: cfg.RootCAs, MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: silence, PingTimeout: silence},
		TLSHandshakeTimeout:    connectTimeout,
		IdleConnTimeout:        idleTimeout,
		MaxIdleConnsPerHost:    idlePer,
		MaxConnsPerHost:        cfg.Connections,
		MaxResponseHeaderBytes: maxHeaders,
		DisableCompression:     true,
	}
	if cfg.HTTP2 {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetHTTP2(true)
	}
	if cfg.Proxy != nil {
		t.Proxy = http.ProxyURL(cfg.Proxy)
		t.DialContext = d.dialProxy
	}
	return &http.Client{
		Transport:     &transport{policy: cfg.Policy, Transport: t},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// transport judges the URL of every request, so that no caller can forget it.
type transport struct {
	*http.Transport
	policy *Policy
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.policy.Check(r.URL.String()); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	return t.Transport.RoundTrip(r)
}

type dialer struct {
	*Policy
	resolver *net.Resolver
}

// dial connects to host:port. Control sees each address that the host resolves
// to right before the connection to it is made.
func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n := net.Dialer{Timeout: connectTimeout, Resolver: d.resolver}
	if !d.hosts[strings.ToLower(address)] {
		n.ControlContext = d.control
	}
	return n.DialContext(ctx, network, address)
}

func (d *dialer) dialProxy(ctx context.Context, network, address string) (net.Conn, error) {
	n := net.Dialer{Timeout: connectTimeout, Resolver: d.resolver}
	return n.DialContext(ctx, network, address)
}

func (d *dialer) control(_ context.Context, network, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !strings.HasPrefix(network, "tcp") {
		return refuse(Malformed)
	}
	if _, port, _ := net.SplitHostPort(address); port != d.port {
		return refuse(Port)
	}
	return d.address(to.Addr())
}
