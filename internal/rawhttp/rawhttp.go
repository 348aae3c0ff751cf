// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package rawhttp makes requests for tests whose paths go over the wire as they
// are written, however odd.
package rawhttp

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// timeout is how long a request may take on a busy machine.
const timeout = time.Minute

// Get1 sends a request line as it is and returns the status.
func Get1(t testing.TB, address, target string, fields ...string) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, timeout)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(timeout)))
	request := "GET " + target + " HTTP/1.1\r\nHost: " + address + "\r\nConnection: close\r\n" + strings.Join(fields, "")
	_, err = conn.Write([]byte(request + "\r\n"))
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, target)
	defer resp.Body.Close()
	return resp.StatusCode
}

// Get2 sends :path as it is, without TLS and with prior knowledge, and
// returns the status.
func Get2(t testing.TB, address, path string) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, timeout)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(timeout)))
	_, err = conn.Write([]byte(http2.ClientPreface))
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(t, framer.WriteSettings())
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", address}, {":path", path}} {
		require.NoError(t, enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true,
	}))
	for {
		frame, err := framer.ReadFrame()
		require.NoError(t, err, path)
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			var status int
			_, err := fmt.Sscan(f.PseudoValue("status"), &status)
			require.NoError(t, err)
			return status
		case *http2.RSTStreamFrame:
			return -int(f.ErrCode) // refused without a status
		}
	}
}
