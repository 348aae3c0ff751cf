// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// site is where streams are opened over HTTP/2: a Caddy with HTTPS.
type site struct {
	address string
	config  *tls.Config
}

func (s *server) site() (*site, error) {
	ca, err := os.ReadFile(s.RootCA())
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("the internal CA of Caddy has no certificate")
	}
	found := &site{s.address, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", NextProtos: []string{http2.NextProtoTLS}}}
	for range 100 { // the certificate is made after the start
		var first net.Conn
		if first, err = found.dialHTTP2(0, 0); err == nil {
			return found, first.Close()
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, err
}

// dial connects without HTTP/2.
func (s *site) dial() (net.Conn, error) {
	config := s.config.Clone()
	config.NextProtos = nil
	return tls.Dial("tcp", s.address, config)
}

// open opens connections with each streams on each, as the browsers of as many
// people do.
func (s *site) open(connections, each int) (openedStreams, error) {
	return openMany(connections, func(i int) (net.Conn, error) { return s.dialHTTP2(i, each) })
}

func (s *site) dialHTTP2(i, streams int) (net.Conn, error) {
	conn, err := tls.Dial("tcp", s.address, s.config)
	if err != nil {
		return nil, err
	}
	if err := openOverHTTP2(conn, s.address, streamUser(i), streams); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// openOverHTTP2 opens streams one after the other, with the headers that a
// browser sends, and waits for the first position of each.
func openOverHTTP2(conn net.Conn, authority, user string, streams int) error {
	if _, err := conn.Write([]byte(http2.ClientPreface)); err != nil {
		return err
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	var block bytes.Buffer
	headers := hpack.NewEncoder(&block)
	for n := range streams {
		block.Reset()
		for _, f := range streamHeaders(authority, user) {
			if err := headers.WriteField(f); err != nil {
				return err
			}
		}
		id := uint32(2*n + 1)
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})
		if err != nil {
			return err
		}
		if err := awaitPosition(framer, id); err != nil {
			return err
		}
	}
	return nil
}

func awaitPosition(framer *http2.Framer, id uint32) error {
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return err
		}
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				err = framer.WriteSettingsAck()
			}
		case *http2.DataFrame:
			if f.StreamID == id && bytes.Contains(f.Data(), []byte("id:")) {
				return nil
			}
			if f.StreamEnded() {
				err = fmt.Errorf("a stream ends with %q", f.Data())
			}
		case *http2.GoAwayFrame, *http2.RSTStreamFrame:
			err = fmt.Errorf("a stream is refused: %v", frame)
		}
		if err != nil {
			return err
		}
	}
}

func streamHeaders(authority, user string) []hpack.HeaderField {
	fields := []hpack.HeaderField{
		{Name: ":method", Value: "GET"},
		{Name: ":scheme", Value: "https"},
		{Name: ":authority", Value: authority},
		{Name: ":path", Value: streamPath},
		{Name: "authorization", Value: "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))},
	}
	for name, value := range browserHeaders(authority) {
		fields = append(fields, hpack.HeaderField{Name: strings.ToLower(name), Value: value})
	}
	return fields
}
