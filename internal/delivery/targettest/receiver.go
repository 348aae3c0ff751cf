// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package targettest

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// serveFunc gets a connection after a request was read from it, or was given
// up on. The connection is closed afterwards.
type serveFunc func(c *net.TCPConn, request []byte)

// says writes text as it is.
func says(text string) serveFunc {
	return func(c *net.TCPConn, _ []byte) { _, _ = io.WriteString(c, text) }
}

// saysAndHangs writes text and keeps the connection open until the other side
// closes it.
func saysAndHangs(text string) serveFunc {
	return func(c *net.TCPConn, _ []byte) {
		_, _ = io.WriteString(c, text)
		_, _ = io.Copy(io.Discard, c)
	}
}

// resets breaks the connection off after text.
func resets(text string) serveFunc {
	return func(c *net.TCPConn, _ []byte) {
		_, _ = io.WriteString(c, text)
		_ = c.SetLinger(0)
	}
}

// goesOn writes text, and then more again and again, until the other side
// closes.
func goesOn(text, more string) serveFunc {
	return func(c *net.TCPConn, _ []byte) {
		_, err := io.WriteString(c, text)
		for err == nil {
			_, err = io.WriteString(c, more)
		}
	}
}

// echoes answers with what the request holds after text.
func echoes(text string) serveFunc {
	return func(c *net.TCPConn, request []byte) { _, _ = io.WriteString(c, text+string(request)+"\r\n\r\n") }
}

// listen starts a receiver that ends with the test, and returns its address.
// Without serve it accepts nothing: the port is closed again.
func listen(t *testing.T, serve serveFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if serve == nil {
		_ = l.Close()
		return l.Addr().String()
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		conns []net.Conn
	)
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn), readRequest(c))
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr().String()
}

// readRequest returns the body of a request.
func readRequest(c net.Conn) []byte {
	r, err := http.ReadRequest(bufio.NewReader(c))
	if err != nil {
		return nil
	}
	body, _ := io.ReadAll(r.Body)
	return body
}
