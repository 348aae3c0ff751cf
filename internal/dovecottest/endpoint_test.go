// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const notifyPath = "/preliminary/http-notify/v1/notify"

// received is one request at an endpoint.
type received struct {
	Method, Path        string
	Login, Password     string
	User, Event, Folder string
	UID                 uint32 `json:"imap-uid"`
	UIDValidity         uint32 `json:"imap-uidvalidity"`
	From, Subject       string
	Snippet             string
	Unseen              uint32
}

// endpoint is what drivers notify. It answers 200 to everything.
type endpoint struct {
	*httptest.Server
	mu       sync.Mutex
	requests []received
}

// newEndpoint starts an endpoint; with a tls.Config it speaks https.
func newEndpoint(t *testing.T, tlsConfig *tls.Config) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got := received{Method: r.Method, Path: r.URL.Path}
		got.Login, got.Password, _ = r.BasicAuth()
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &got)
		}
		if err != nil {
			t.Errorf("endpoint: %v: %q", err, body)
		}
		e.mu.Lock()
		defer e.mu.Unlock()
		e.requests = append(e.requests, got)
	}))
	if tlsConfig == nil {
		e.Start()
	} else {
		e.TLS = tlsConfig
		// A refused handshake is what some tests want: no need to print it.
		e.Config.ErrorLog = log.New(io.Discard, "", 0)
		e.StartTLS()
	}
	t.Cleanup(e.Close)
	return e
}

// url returns the URL of the endpoint with the credentials, for a driver.
func (e *endpoint) url(credentials string) string {
	scheme, host, _ := strings.Cut(e.URL, "://")
	return scheme + "://" + credentials + "@" + host + notifyPath
}

// take returns the requests since it was called last. Dovecot waits for the
// answer before it confirms a delivery, so there is nothing to wait for here.
func (e *endpoint) take() []received {
	e.mu.Lock()
	defer e.mu.Unlock()
	requests := e.requests
	e.requests = nil
	return requests
}

func users(requests []received) (names []string) {
	for _, r := range requests {
		names = append(names, r.User)
	}
	return names
}

// authority is a certification authority of one test.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "dovecottest authority"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
	}
	a.key, a.cert = a.sign("ca", template, template, nil)
	return a
}

// sign makes a certificate and writes NAME.crt and NAME.key.
func (a *authority) sign(name string, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	if parentKey == nil {
		parentKey = key
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	for file, block := range map[string]*pem.Block{
		a.file(name + ".crt"): {Type: "CERTIFICATE", Bytes: der},
		a.file(name + ".key"): {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		require.NoError(a.t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
	return key, cert
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// server returns the configuration of an https endpoint on localhost and
// 127.0.0.1. With clients it insists on a client certificate of the authority.
func (a *authority) server(clients bool) *tls.Config {
	a.t.Helper()
	a.sign("server", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "endpoint"},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, a.cert, a.key)
	pair, err := tls.LoadX509KeyPair(a.file("server.crt"), a.file("server.key"))
	require.NoError(a.t, err)
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	if clients {
		config.ClientAuth = tls.RequireAndVerifyClientCert
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AddCert(a.cert)
	}
	return config
}

// client makes client.crt and client.key.
func (a *authority) client() {
	a.t.Helper()
	a.sign("client", &x509.Certificate{
		Subject:     pkix.Name{CommonName: "dovecot"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}, a.cert, a.key)
}

// mail returns a message with the subject.
func mail(subject string) []byte {
	return fmt.Appendf(nil, "From: Bob <bob@example.net>\nTo: list@example.com\nSubject: %s\n\nHello there,\n.and so on.\n", subject)
}
