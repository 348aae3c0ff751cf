// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// backend is how this program starts itself as one of the servers beside Caddy.
// They are processes of their own, as in life: what one of them takes of the
// machine must not hold up the load generator alone.
var backend = flag.String("backend", "", "for the benchmark itself: be the backend of that name")

var backends = map[string]http.HandlerFunc{
	// answering answers 200 at once.
	"answering": func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	},
	// hanging never answers.
	"hanging": func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	},
}

// beBackend serves HTTP and HTTPS until its standard input ends. It says where,
// and the certificate, in one line.
func beBackend(name string) error {
	handler := backends[name]
	if handler == nil {
		return fmt.Errorf("there is no backend %q", name)
	}
	certificate, err := selfSigned()
	if err != nil {
		return err
	}
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s := &http.Server{Handler: handler, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}
	go s.Serve(plain)
	go s.ServeTLS(secure, "", "")
	fmt.Println(plain.Addr(), secure.Addr(), base64.StdEncoding.EncodeToString(certificate.Certificate[0]))
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, s.Close())
}

// selfSigned makes a certificate with a key of the kind that Caddy's internal
// CA makes, so that handshakes cost both the same.
func selfSigned() (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// running is a backend that was started.
type running struct {
	http, https string // addresses
	certificate []byte // of https, PEM
}

// start starts a backend, which ends with the part.
func (b *bench) start(name string) (*running, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, "-backend", name)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b.closers = append(b.closers, closer(func() {
		stdin.Close()
		_ = cmd.Wait()
	}))
	line, err := bufio.NewReader(stdout).ReadString('\n')
	fields := strings.Fields(line)
	if err != nil || len(fields) != 3 {
		return nil, fmt.Errorf("the backend %q said %q: %w", name, line, err)
	}
	der, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil {
		return nil, err
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return &running{http: fields[0], https: fields[1], certificate: certificate}, nil
}

// middleware is the address of a server that answers 200 at once.
func (b *bench) middleware() (string, error) { return b.plain("answering") }

// hanging is the address of a server that never answers.
func (b *bench) hanging() (string, error) { return b.plain("hanging") }

func (b *bench) plain(name string) (string, error) {
	r, err := b.start(name)
	if err != nil {
		return "", err
	}
	return r.http, nil
}
