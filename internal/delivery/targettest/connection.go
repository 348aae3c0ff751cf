// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package targettest

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

func serve(t *testing.T, handler http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s
}

var noContent = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

// redirects are answers like any other: nothing else is requested.
func (kit Kit) redirects(t *testing.T) {
	elsewhere := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	var status int
	var location string
	s := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/"+Token {
			t.Error("a redirect was followed")
		}
		w.Header()["Location"] = []string{location}
		w.WriteHeader(status)
	}))
	target := kit.New(t, s.URL+"/"+Token, nil)
	for _, status = range []int{201, 300, 301, 302, 303, 307, 308} {
		for _, location = range []string{elsewhere.URL, "/elsewhere", "", "http://[::1", "//" + strings.Repeat("x", 4096), "http://" + Token + "/"} {
			r := kit.attempt(t, t.Context(), target)
			assert.Equal(t, kit.want(status).String(), r.Outcome.String(), "%d to %s", status, location)
		}
	}
}

// tls looks at servers that are not who they should be.
func (kit Kit) tls(t *testing.T) {
	var requests atomic.Int64
	count := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		noContent(w, r)
	})
	start := func(change func(*httptest.Server)) (*httptest.Server, *x509.Certificate) {
		s := httptest.NewUnstartedServer(count)
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.TLS = new(tls.Config)
		if change != nil {
			change(s)
		}
		s.StartTLS()
		t.Cleanup(s.Close)
		return s, s.Certificate()
	}
	t.Run("good", func(t *testing.T) {
		for _, h2 := range []bool{false, true} {
			s, ca := start(func(s *httptest.Server) { s.EnableHTTP2 = h2 })
			assert.Equal(t, delivery.Delivered, kit.attempt(t, t.Context(), kit.New(t, s.URL+"/"+Token, ca)).Outcome)
		}
	})
	arrived := requests.Load()
	bad := func(name string, change func(*httptest.Server), trusted bool, host string) {
		t.Run(name, func(t *testing.T) {
			s, ca := start(change)
			if !trusted {
				ca = nil
			}
			u, err := url.Parse(s.URL)
			assert.NoError(t, err)
			if host != "" {
				u.Host = net.JoinHostPort(host, u.Port())
			}
			r := kit.attempt(t, t.Context(), kit.New(t, u.String()+"/"+Token, ca))
			assert.Equal(t, delivery.TryAgain.String(), r.Outcome.String())
		})
	}
	bad("unknown authority", nil, false, "")
	bad("another host", nil, true, "localhost")
	bad("too old", func(s *httptest.Server) { s.TLS.MaxVersion = tls.VersionTLS11 }, true, "")
	bad("wants a certificate", func(s *httptest.Server) { s.TLS.ClientAuth = tls.RequireAnyClientCert }, true, "")
	assert.Equal(t, arrived, requests.Load(), "a request was sent to a server that nobody vouches for")
	t.Run("no TLS", func(t *testing.T) {
		r := kit.attempt(t, t.Context(), kit.New(t, strings.Replace(serve(t, count).URL, "http:", "https:", 1)+"/"+Token, nil))
		assert.Equal(t, delivery.TryAgain.String(), r.Outcome.String())
	})
}

// connections are used again, and it does no harm when they are not there any
// more.
func (kit Kit) connections(t *testing.T) {
	var opened, status atomic.Int64
	status.Store(http.StatusOK)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, "some words about it")
	}))
	var idle sync.Map // connections that wait for a request
	s.Config.ConnState = func(c net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			opened.Add(1)
		case http.StateIdle:
			idle.Store(c, true)
		default:
			idle.Delete(c)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	target := kit.New(t, s.URL+"/"+Token, nil)
	for _, code := range []int64{200, 200, 500, 429, 400, 403, 200} {
		status.Store(code)
		kit.attempt(t, t.Context(), target)
	}
	assert.EqualValues(t, 1, opened.Load(), "connections for one attempt after another")

	t.Run("closed by the server", func(t *testing.T) {
		for range 10 {
			require.Eventually(t, func() (waits bool) {
				idle.Range(func(c, _ any) bool { waits = true; _ = c.(net.Conn).Close(); return true })
				return waits
			}, enough, time.Millisecond)
			// Whether the client has noticed yet is a matter of luck.
			requireOutcome(t, delivery.Delivered, kit.attempt(t, t.Context(), target))
		}
	})
	t.Run("many at once", func(t *testing.T) {
		var wg sync.WaitGroup
		var delivered atomic.Int64
		for range 16 {
			wg.Go(func() {
				for range 20 {
					if target.Deliver(t.Context(), Record()).Outcome == delivery.Delivered {
						delivered.Add(1)
					}
				}
			})
		}
		wg.Wait()
		assert.EqualValues(t, 320, delivered.Load())
	})
}
