// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is one in the neighbourhood, with a certificate for example.com.
type server struct {
	*httptest.Server
	requests atomic.Int64
	port     string
	roots    *x509.CertPool
}

func startServer(t *testing.T, handler http.HandlerFunc) *server {
	t.Helper()
	s := &server{roots: x509.NewCertPool()}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		handler(w, r)
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	s.roots.AddCert(s.Certificate())
	_, s.port, _ = net.SplitHostPort(s.Listener.Addr().String())
	return s
}

func noContent(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }

// client takes the port of s for 443.
func (s *server) client(t *testing.T, resolver *net.Resolver, exceptions ...string) *http.Client {
	t.Helper()
	p := newPolicy(t, exceptions...)
	p.port = s.port
	c := NewClient(Config{Policy: p, RootCAs: s.roots, Resolver: resolver})
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func get(t *testing.T, c *http.Client, u string) (*http.Response, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, http.NoBody)
	require.NoError(t, err)
	resp, err := c.Do(r)
	if err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	return resp, err
}

// A name that resolves to what must not be reached is refused when the
// connection is made.
func TestNamesThatResolveInside(t *testing.T) {
	s := startServer(t, noContent)
	for address, want := range map[string]Reason{
		"127.0.0.1":              Loopback,
		"::1":                    Loopback,
		"::ffff:127.0.0.1":       Loopback,
		"10.0.0.1":               Private,
		"169.254.169.254":        LinkLocal,
		"64:ff9b::169.254.10.10": LinkLocal,
		"2002:7f00:1::":          Tunnel,
		"0.0.0.0":                Unspecified,
	} {
		_, err := get(t, s.client(t, resolveTo(t, address)), "https://example.com:"+s.port)
		var refused *RefusedError
		require.ErrorAs(t, err, &refused, address)
		assert.Equal(t, want, refused.Reason, address)
		word, safe := Failure(err)
		assert.Equal(t, "address_refused", word)
		assert.NotContains(t, safe.Error(), "example.com")
	}
	assert.Zero(t, s.requests.Load())
}

// Rebinding: DNS gives an address that is let through, and another one the
// next time it is asked.
func TestRebinding(t *testing.T) {
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		noContent(w, r)
	})
	c := s.client(t, resolveTo(t, "127.0.0.1", "127.0.0.2"), "127.0.0.1")
	u := "https://example.com:" + s.port
	resp, err := get(t, c, u)
	require.NoError(t, err)
	assert.Equal(t, http.StatusNoContent, resp.StatusCode)
	c.CloseIdleConnections()
	_, err = get(t, c, u)
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	assert.EqualValues(t, 1, s.requests.Load())
}

// An address with the wrong port is not connected to, however it came about.
func TestPortAtConnect(t *testing.T) {
	d := &dialer{Policy: newPolicy(t, "127.0.0.1")}
	for address, want := range map[string]Reason{
		"127.0.0.1:80": Port, "127.0.0.1:2019": Port, "127.0.0.2:443": Loopback, "[::1]:443": Loopback, "[fe80::1%lo]:443": LinkLocal, "x": Malformed,
	} {
		var refused *RefusedError
		require.ErrorAs(t, d.control(t.Context(), "tcp", address, nil), &refused, address)
		assert.Equal(t, want, refused.Reason, address)
	}
	require.NoError(t, d.control(t.Context(), "tcp4", "127.0.0.1:443", nil))
	require.NoError(t, d.control(t.Context(), "tcp6", "[::ffff:127.0.0.1]:443", nil))
	require.Error(t, d.control(t.Context(), "udp", "127.0.0.1:443", nil))
}

// A redirect is an answer like any other: nothing else is requested.
func TestRedirects(t *testing.T) {
	inside := startServer(t, noContent)
	for status := 300; status <= 308; status++ {
		s := startServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", inside.URL)
			w.WriteHeader(status)
		})
		resp, err := get(t, s.client(t, nil, "127.0.0.1"), s.URL)
		require.NoError(t, err)
		assert.Equal(t, status, resp.StatusCode)
	}
	assert.Zero(t, inside.requests.Load())
}

func TestEnvironmentNamesNoProxy(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("the proxy was asked") }))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "https_proxy"} {
		t.Setenv(name, proxy.URL)
	}
	s := startServer(t, noContent)
	_, err := get(t, s.client(t, resolveTo(t, "127.0.0.1"), "example.com:"+s.port), "https://example.com:"+s.port)
	require.NoError(t, err)
}

// A proxy may be inside; what is asked of it is judged as far as the URL goes.
func TestProxy(t *testing.T) {
	s := startServer(t, noContent)
	var asked atomic.Pointer[string]
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, http.MethodConnect, r.Method)
		asked.Store(&r.Host)
		to, err := net.Dial("tcp", s.Listener.Addr().String())
		if !assert.NoError(t, err) {
			return
		}
		from, _, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n")
		go func() { _, _ = io.Copy(to, from); to.Close() }()
		_, _ = io.Copy(from, to)
		from.Close()
	}))
	defer proxy.Close()
	u, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	c := NewClient(Config{Policy: newPolicy(t), RootCAs: s.roots, Proxy: u})
	defer c.CloseIdleConnections()
	resp, err := get(t, c, "https://example.com/x")
	require.NoError(t, err)
	assert.Equal(t, http.StatusNoContent, resp.StatusCode)
	require.NotNil(t, asked.Load())
	assert.Equal(t, "example.com:443", *asked.Load())
	_, err = get(t, c, "https://127.0.0.1/x")
	var refused *RefusedError
	require.ErrorAs(t, err, &refused)
	_, err = get(t, c, proxy.URL)
	require.ErrorAs(t, err, &refused)
}

// An excepted host may resolve to anything, and one connection serves many
// requests.
func TestExceptedHost(t *testing.T) {
	s := startServer(t, func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, 2, r.ProtoMajor)
		noContent(w, r)
	})
	p := newPolicy(t, "Example.com:"+s.port)
	c := NewClient(Config{Policy: p, RootCAs: s.roots, Resolver: resolveTo(t, "127.0.0.1", "10.0.0.1")})
	defer c.CloseIdleConnections()
	for range 3 {
		_, err := get(t, c, "https://EXAMPLE.com:"+s.port)
		require.NoError(t, err)
	}
}

// Many requests at once share few connections, also while there is none yet.
func TestConnectionsAreBounded(t *testing.T) {
	const most, requests = 3, 200
	var opened atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	s.EnableHTTP2 = true
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	c := NewClient(Config{Policy: newPolicy(t, s.Listener.Addr().String()), RootCAs: roots, HTTP2: true, Connections: most})
	t.Cleanup(c.CloseIdleConnections)
	var all sync.WaitGroup
	for range requests {
		all.Go(func() {
			resp, err := get(t, c, s.URL)
			if assert.NoError(t, err) {
				assert.Equal(t, http.StatusNoContent, resp.StatusCode)
			}
		})
	}
	all.Wait()
	// net/http closes some of the first, and opens others then.
	assert.Less(t, opened.Load(), int64(requests/10))
}

func TestFailures(t *testing.T) {
	secret := "/token-5eCr3t"
	closing := startServer(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	slow := startServer(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	plain := httptest.NewServer(http.HandlerFunc(noContent))
	defer plain.Close()
	garbage := listen(t, func(c net.Conn) { _, _ = io.WriteString(c, "subject of a mail\r\n\r\n") })
	ended := listen(t, func(net.Conn) {})
	free, err := freeport.Address()
	require.NoError(t, err)
	for _, test := range []struct {
		name, url string
		roots     *x509.CertPool
		words     []string
	}{
		{"certificate", "https://example.com:" + closing.port, nil, []string{"tls"}},
		{"certificate of another host", "https://localhost:" + closing.port, closing.roots, []string{"tls"}},
		{"no TLS", strings.Replace(plain.URL, "http://", "https://", 1), nil, []string{"tls"}},
		{"aborted", "https://example.com:" + closing.port, closing.roots, []string{"protocol", "reset"}},
		{"slow", "https://example.com:" + slow.port, slow.roots, []string{"timeout"}},
		{"garbage", "http://" + garbage, nil, []string{"protocol"}},
		{"ended", "http://" + ended, nil, []string{"reset"}},
		{"nobody listens", "http://" + free, nil, []string{"connect"}},
		{"no such host", "https://gone.example:" + closing.port, nil, []string{"dns"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			u, err := url.Parse(test.url)
			require.NoError(t, err)
			c := NewClient(Config{Policy: newPolicy(t, test.url), RootCAs: test.roots, Resolver: resolveTo(t, "127.0.0.1")})
			defer c.CloseIdleConnections()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if test.name == "slow" {
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			r, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String()+secret, strings.NewReader("body"))
			require.NoError(t, err)
			_, err = c.Do(r)
			require.Error(t, err)
			word, safe := Failure(err)
			assert.Contains(t, test.words, word, err)
			assert.NotContains(t, safe.Error(), "5eCr3t")
			assert.NotContains(t, safe.Error(), "subject")
		})
	}
	word, _ := Failure(context.Canceled)
	assert.Equal(t, "interrupted", word)
}

// listen gives each connection to serve and closes it.
func listen(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return l.Addr().String()
}

// resolveTo is a resolver whose DNS server gives example.com one address after
// another, the last one again and again, and knows no other name.
func resolveTo(t *testing.T, addresses ...string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		next, buf := 0, make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil {
				continue
			}
			addr := netip.MustParseAddr(addresses[min(next, len(addresses)-1)])
			m.Response, m.RCode, m.Additionals = true, dnsmessage.RCodeSuccess, nil
			q := m.Questions[0]
			switch {
			case !strings.EqualFold(q.Name.String(), "example.com."):
				m.RCode = dnsmessage.RCodeNameError
			case q.Type == dnsmessage.TypeA && addr.Is4():
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AResource{A: addr.As4()}}}
				next++
			case q.Type == dnsmessage.TypeAAAA && addr.Is6():
				m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class}, Body: &dnsmessage.AAAAResource{AAAA: addr.As16()}}}
				next++
			}
			answer, err := m.Pack()
			if err == nil {
				_, _ = conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}
