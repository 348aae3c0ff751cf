// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Command earlydata requests over HTTP/3 what standard input says, a method
// and a URL a line, each on a connection of its own that resumes the session
// of the one before, and prints the status, 0 without an answer. Its argument
// is a file with the CA. The method GET_0RTT sends early data.
//
// It is a program of its own because QUIC's client has a data race when it
// sends early data (quic-go 0.63), which the race detector of tests reports.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	ca, err := os.ReadFile(os.Args[1]) //nolint:gosec // the test says which
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return errors.New("no certificate in the file")
	}
	config := &tls.Config{RootCAs: roots, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	tokens := quic.NewLRUTokenStore(1, 1)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var method, url string
		if _, err := fmt.Sscan(lines.Text(), &method, &url); err != nil {
			return err
		}
		transport := &http3.Transport{TLSClientConfig: config, QUICConfig: &quic.Config{TokenStore: tokens}}
		status, err := get(transport, method, url)
		if err != nil {
			log.Print(err)
		}
		fmt.Println(status)
		if err := transport.Close(); err != nil {
			return err
		}
	}
	return lines.Err()
}

func get(transport *http3.Transport, method, url string) (status int, err error) {
	r, err := http.NewRequest(method, url, nil)
	if err != nil {
		return 0, err
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}
