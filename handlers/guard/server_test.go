// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
)

// newServer starts a server that answers 200 to whatever the guard lets
// through, and speaks HTTP/1.1 and HTTP/2 without TLS.
func newServer(t *testing.T, allow ...string) (address string) {
	t.Helper()
	paths := newPaths(t, "/preliminary/*")
	g := &guard.Guard{Allow: networks(t, allow...)}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if paths.Match(r.URL) {
			if verdict := g.Judge(r); verdict != guard.Allowed {
				http.Error(w, verdict.String(), verdict.Status())
				return
			}
		}
		w.WriteHeader(http.StatusOK)
	}))
	server.Config.Protocols = new(http.Protocols)
	server.Config.Protocols.SetHTTP1(true)
	server.Config.Protocols.SetUnencryptedHTTP2(true)
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	return conn
}

// status1 sends target as it is in an HTTP/1.1 request line.
func status1(t *testing.T, address, method, target string) int {
	t.Helper()
	conn := dial(t, address)
	defer conn.Close()
	_, err := fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: mail.example.com\r\nConnection: close\r\n\r\n", method, target)
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err, target)
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

// status2 sends target as the :path of an HTTP/2 request. It is 0 if the server
// reset the stream or ended the connection.
func status2(t *testing.T, address, target string) int {
	t.Helper()
	conn := dial(t, address)
	defer conn.Close()
	_, err := io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	require.NoError(t, framer.WriteSettings())
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range []hpack.HeaderField{{Name: ":method", Value: "GET"}, {Name: ":scheme", Value: "http"}, {Name: ":authority", Value: "mail.example.com"}, {Name: ":path", Value: target}} {
		require.NoError(t, encoder.WriteField(field))
	}
	require.NoError(t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}))
	for {
		frame, err := framer.ReadFrame()
		if errors.Is(err, io.EOF) {
			return 0
		}
		require.NoError(t, err, target)
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			status, err := strconv.Atoi(frame.PseudoValue("status"))
			require.NoError(t, err)
			return status
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return 0
		}
	}
}

// oddTargets are request targets of the other forms of RFC 9112 section 3.2,
// and of none.
var oddTargets = []string{
	"http://mail.example.com/preliminary", "http://mail.example.com//preliminary/x", "http:///preliminary", "http:////preliminary", "HTTP://h/%70reliminary", "x:/preliminary",
	"http:preliminary", "http:%2fpreliminary", "mailto:x", "preliminary", "%2fpreliminary", "://preliminary", "http://h%2fpreliminary", `http://h\preliminary/`, "http://h;/preliminary",
	"/preliminary HTTP/1.1\r\nX: ", "http://h/x/../preliminary", "//h/../preliminary", "/\tpreliminary", "/preliminary\t", "\\preliminary",
}

func TestServerLetsNoTrickThrough(t *testing.T) {
	t.Parallel()
	address := newServer(t, "192.0.2.0/24")
	forbidden := map[string]int{}
	for _, target := range append(append([]string{}, tricks...), oddTargets...) {
		for protocol, status := range map[string]int{"HTTP/1.1": status1(t, address, "GET", target), "PUT": status1(t, address, "PUT", target), "HTTP/2": status2(t, address, target)} {
			switch status {
			case http.StatusForbidden:
				forbidden[protocol]++
			case http.StatusBadRequest, 0: // refused before it came to the guard
			default:
				t.Errorf("%s %q: %d", protocol, target, status)
			}
		}
	}
	for _, protocol := range []string{"HTTP/1.1", "PUT", "HTTP/2"} {
		require.Greater(t, forbidden[protocol], len(tricks)/2, protocol)
	}
	require.NotEqual(t, http.StatusOK, status1(t, address, "CONNECT", "/preliminary"))
	require.Equal(t, http.StatusOK, status1(t, address, "OPTIONS", "*"))
}

// The same server lets through what is not guarded, and whom it should.
func TestServerLetsOthersThrough(t *testing.T) {
	t.Parallel()
	address := newServer(t, "192.0.2.0/24")
	passed := 0
	for _, target := range elsewhere {
		for _, status := range []int{status1(t, address, "GET", target), status2(t, address, target)} {
			switch status {
			case http.StatusOK:
				passed++
			case http.StatusBadRequest, 0: // not a URL
			default:
				t.Errorf("%q: %d", target, status)
			}
		}
	}
	require.Greater(t, passed, len(elsewhere))

	address = newServer(t, "127.0.0.1")
	for _, target := range []string{"/preliminary/http-notify/v1/notify", "/%70reliminary", "/x/..;/preliminary"} {
		require.Equal(t, http.StatusOK, status1(t, address, "PUT", target))
		require.Equal(t, http.StatusOK, status2(t, address, target))
	}
	require.Equal(t, http.StatusOK, status1(t, address, "GET", "/preliminary/"+strings.Repeat("x", 20_000)))
}

// A hostile path as long as the server takes it is answered.
func TestServerRefusesLongPaths(t *testing.T) {
	t.Parallel()
	address := newServer(t)
	for _, piece := range []string{"%25", "%2e%2e%2f", "/..;", "%c0%ae", "%ef%bc%85"} {
		require.Equal(t, http.StatusForbidden, status1(t, address, "GET", "/"+strings.Repeat(piece, 100_000)), piece)
		require.Equal(t, http.StatusOK, status1(t, address, "GET", "/x/y"+strings.Repeat("%20", 5000)), piece)
	}
}
