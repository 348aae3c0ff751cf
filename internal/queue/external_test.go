// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/testlog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func storeOn(t *testing.T, servers ...*natsProcess) *testStore {
	s := &testStore{config: Config{External: &External{Durability: AnyDurability}, MaxBytes: 32 << 20, MaxAge: time.Hour, Logger: testlog.New(t)}}
	for _, p := range servers {
		s.config.External.URLs = append(s.config.External.URLs, p.url())
	}
	return s
}

// acceptSoon accepts as soon as the queue can.
func acceptSoon(t *testing.T, q *Queue, r Record) {
	t.Helper()
	require.Eventually(t, func() bool {
		_, err := q.Accept(context.Background(), r, time.Minute)
		if err != nil {
			assert.ErrorIs(t, err, ErrUnavailable)
		}
		return err == nil
	}, patience, 10*time.Millisecond)
}

// A mail system starts while its NATS server does not run yet.
func TestServerComesLater(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	s := storeOn(t, server)
	q := s.open(t, "a")
	_, err := q.Accept(t.Context(), numbered(0), time.Minute)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, q.Park(t.Context(), "a", Parked{Records: []Record{numbered(0)}}), ErrUnavailable)
	_, err = take(t.Context(), q.NewReader("a"))
	require.ErrorIs(t, err, ErrUnavailable)
	_, err = q.Stats(t.Context(), []string{"a"})
	require.ErrorIs(t, err, ErrUnavailable)
	cfg := s.config
	cfg.MaxBytes = 16 << 20
	require.NoError(t, q.Reconcile(t.Context(), cfg), "a reload does not need the server either")

	require.NoError(t, server.start())
	acceptSoon(t, q, numbered(0))
	requireRange(t, drain(t, q, "a"), 0, 1)
	stream, err := q.js().Stream(t.Context(), q.names.stream)
	require.NoError(t, err)
	require.EqualValues(t, 16<<20, stream.CachedInfo().Config.MaxBytes)
}

func TestCloseWhileServerIsAway(t *testing.T) {
	t.Parallel()
	q := storeOn(t, newNATSServer(t)).open(t, "a")
	time.Sleep(50 * time.Millisecond)
	require.NoError(t, q.Close())
	_, err := q.Accept(t.Context(), numbered(0), time.Minute)
	require.ErrorIs(t, err, ErrClosed)
}

// A server that is killed under load, again and again, loses nothing that was
// acknowledged.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	q := storeOn(t, server).open(t, "slow", "fast")
	underLoad(t, q, func(accepted *atomic.Int64) {
		for range 3 {
			before := accepted.Load()
			require.Eventually(t, func() bool { return accepted.Load() > before+100 }, patience, time.Millisecond)
			server.kill()
			time.Sleep(50 * time.Millisecond)
			require.NoError(t, server.start())
		}
		before := accepted.Load()
		require.Eventually(t, func() bool { return accepted.Load() > before+100 }, patience, time.Millisecond)
	})
}

// A server that comes back with less than it had said it stored gives numbers
// out again that a target has passed. What it accepts is still delivered.
func TestServerLostData(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t)
	require.NoError(t, server.start())
	q := storeOn(t, server).open(t, "a")
	reader := q.NewReader("a")
	deliver := func(n int) {
		acceptSoon(t, q, numbered(n))
		require.NoError(t, next(t, reader).Ack())
		requireStats(t, q, 0, map[string]TargetStats{"a": {}})
	}
	deliver(0)
	server.stop(t)
	restore := server.snapshot(t)
	require.NoError(t, server.start())
	const more = 10
	for n := range more {
		deliver(1 + n)
	}
	server.stop(t)
	restore()
	require.NoError(t, server.start())
	missing := make(map[notification.Identity]bool)
	for n := range more {
		r := numbered(100 + n)
		missing[r.ID] = true
		acceptSoon(t, q, r)
	}
	for len(missing) > 0 {
		g := next(t, reader)
		for _, r := range g.Records {
			delete(missing, r.ID)
		}
		require.NoError(t, g.Ack())
	}
}

// Of three servers with three replicas one may die at any time.
func TestClusterLosesServer(t *testing.T) {
	t.Parallel()
	servers := newNATSCluster(t, 3)
	s := storeOn(t, servers...)
	s.config.External.Replicas = 3
	q := s.open(t, "slow", "fast")
	acceptSoon(t, q, numbered(0))
	stream, err := q.js().Stream(t.Context(), q.names.stream)
	require.NoError(t, err)
	info := stream.CachedInfo()
	require.Equal(t, 3, info.Config.Replicas)
	underLoad(t, q, func(accepted *atomic.Int64) {
		for _, p := range servers {
			if strings.Contains(strings.Join(p.options, " "), info.Cluster.Leader) {
				p.kill()
			}
		}
		before := accepted.Load()
		require.Eventually(t, func() bool { return accepted.Load() > before+200 }, patience, time.Millisecond)
	})
}

// underLoad accepts for "slow" and "fast" and delivers to "fast" while work
// runs, then looks for what is missing.
func underLoad(t *testing.T, q *Queue, work func(accepted *atomic.Int64)) {
	t.Helper()
	var (
		senders, reader sync.WaitGroup
		numbers         sync.Map
		last, accepted  atomic.Int64
		stop            = make(chan struct{})
		fast            = make(map[int]bool)
	)
	last.Store(99)
	for range 8 {
		senders.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				n := int(last.Add(1))
				_, err := q.Accept(context.Background(), numbered(n), time.Minute)
				if err != nil {
					assert.ErrorIs(t, err, ErrUnavailable)
					time.Sleep(5 * time.Millisecond)
					continue
				}
				numbers.Store(n, true)
				accepted.Add(1)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	reader.Go(func() {
		r := q.NewReader("fast")
		for ctx.Err() == nil {
			g, err := take(ctx, r)
			if err != nil {
				time.Sleep(5 * time.Millisecond)
				continue
			}
			for _, r := range g.Records {
				fast[numberOf(r)] = true
			}
			_ = g.Ack()
		}
	})
	work(&accepted)
	close(stop)
	senders.Wait()
	cancel()
	reader.Wait()
	slow, rest := drain(t, q, "slow"), drain(t, q, "fast")
	numbers.Range(func(key, _ any) bool {
		n := key.(int)
		assert.Equal(t, 1, slow[identity(n)], "slow target, %d", n)
		assert.True(t, fast[n] || rest[identity(n)] > 0, "fast target, %d", n)
		return true
	})
	t.Logf("%d of %d accepted, %d were stored", accepted.Load(), last.Load()-99, len(slow))
	requireStats(t, q, 0, map[string]TargetStats{"slow": {}, "fast": {}})
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	password := newNATSServer(t, "--user", "push", "--pass", "secret")
	token := newNATSServer(t, "--auth", "token")
	for _, p := range []*natsProcess{password, token} {
		require.NoError(t, p.start())
	}
	for name, test := range map[string]struct {
		server *natsProcess
		set    func(*External)
		fine   bool
	}{
		"password":       {password, func(e *External) { e.User, e.Password = "push", "secret" }, true},
		"in the URL":     {password, func(e *External) { e.URLs = []string{"nats://push:secret@" + password.addr} }, true},
		"wrong password": {password, func(e *External) { e.User, e.Password = "push", "wrong-secret" }, false},
		"no password":    {password, func(*External) {}, false},
		"token":          {token, func(e *External) { e.Token = "token" }, true},
		"wrong token":    {token, func(e *External) { e.Token = "wrong-secret" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := storeOn(t, test.server)
			test.set(s.config.External)
			q := s.open(t, "a")
			if test.fine {
				acceptSoon(t, q, numbered(0))
				requireRange(t, drain(t, q, "a"), 0, 1)
				return
			}
			require.Eventually(t, func() bool { return q.connectErr.Load() != nil }, patience, 10*time.Millisecond)
			require.ErrorContains(t, q.notConnected(), "Authorization Violation")
			require.NotContains(t, q.notConnected().Error(), "secret")
			_, err := q.Accept(t.Context(), numbered(0), time.Minute)
			require.ErrorIs(t, err, ErrUnavailable)
		})
	}
}

// The server learns of our user only after it refused us several times.
func TestUserComesLater(t *testing.T) {
	t.Parallel()
	server := newNATSServer(t, "--user", "somebody", "--pass", "else")
	require.NoError(t, server.start())
	s := storeOn(t, server)
	s.config.External.User, s.config.External.Password = "push", "secret"
	q := s.open(t, "a")
	time.Sleep(1500 * time.Millisecond) // three attempts
	require.False(t, q.nc().IsClosed())
	server.kill()
	server.options = []string{"--user", "push", "--pass", "secret"}
	require.NoError(t, server.start())
	acceptSoon(t, q, numbered(0))
}

func TestURLWithPasswordStaysSecret(t *testing.T) {
	s := storeOn(t)
	s.config.External.URLs = []string{"nats://push:top%secret@nats.example:4222"}
	_, err := Open(t.Context(), s.config)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "secret")
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	roots := selfSigned(t, dir)
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	server := newNATSServer(t, "--tlsverify", "--tlscert", cert, "--tlskey", key, "--tlscacert", cert)
	require.NoError(t, server.start())
	client, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)

	s := storeOn(t, server)
	s.config.External.URLs = []string{strings.Replace(server.url(), "nats:", "tls:", 1)}
	s.config.External.TLS = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{client}}
	q := s.open(t, "a")
	acceptSoon(t, q, numbered(0))
	requireRange(t, drain(t, q, "a"), 0, 1)

	for name, config := range map[string]*tls.Config{
		"unknown authority":     {Certificates: []tls.Certificate{client}},
		"no client certificate": {RootCAs: roots},
	} {
		t.Run(name, func(t *testing.T) {
			s := storeOn(t, server)
			s.config.External.TLS = config
			q := s.open(t, "a")
			require.Eventually(t, func() bool { // the connection may also end before the alert is read
				return q.connectErr.Load() != nil && strings.Contains(q.notConnected().Error(), "tls")
			}, patience, 10*time.Millisecond)
			_, err := q.Accept(t.Context(), numbered(0), time.Minute)
			require.ErrorIs(t, err, ErrUnavailable)
		})
	}
}

// selfSigned writes a certificate for 127.0.0.1 that is its own authority, for
// servers and clients.
func selfSigned(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cert.pem"), cert, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(cert))
	return roots
}

func newNATSCluster(t *testing.T, size int) []*natsProcess {
	t.Helper()
	var routes []string
	for range size {
		routes = append(routes, (&url.URL{Scheme: "nats", Host: freeAddr(t)}).String())
	}
	servers := make([]*natsProcess, size)
	for i := range servers {
		servers[i] = newNATSServer(t, "--name", fmt.Sprintf("n%d", i), "--cluster_name", "test",
			"--cluster", routes[i], "--routes", strings.Join(routes, ","))
		require.NoError(t, servers[i].start())
	}
	return servers
}
