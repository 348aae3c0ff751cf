// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
)

// What Dovecot gets to see.
func TestRequest(t *testing.T) {
	var got *http.Request
	var body []byte
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		io.WriteString(w, `[["doveadmResponse",[],"t"]]`)
	})
	c := newClient(t, doveadm.Config{Endpoints: []string{url}, APISecret: "geheim"})
	require.NoError(t, c.MetadataSet(t.Context(), alice, key, "user=7@1"))
	assert.Equal(t, http.MethodPost, got.Method)
	assert.Equal(t, "/doveadm/v1", got.URL.String())
	assert.Equal(t, http.Header{
		"Authorization":  {"X-Dovecot-API Z2VoZWlt"},
		"Content-Type":   {"application/json"},
		"Content-Length": {"169"},
		"User-Agent":     {"caddy-dovecot-push"},
	}, got.Header)
	assert.Empty(t, got.TransferEncoding)
	assert.Equal(t, `[["mailboxMetadataSet",{"allowEmptyMailboxName":true,"key":"/private/vendor/vendor.dovecot/http-notify",`+
		`"mailbox":"","user":"alice@example.com","value":"user=7@1"},"t"]]`, string(body))
}

// Nothing makes a client read without an end.
func TestAnswerTooLong(t *testing.T) {
	for name, answer := range map[string]string{
		"body": "HTTP/1.1 200 OK\r\n\r\n[[\"", "head": "HTTP/1.1 200 OK\r\nX: ", "heads": "HTTP/1.1 100 Continue\r\nX: ",
	} {
		t.Run(name, func(t *testing.T) {
			url := serveRaw(t, func(conn net.Conn) {
				_, err := io.WriteString(conn, answer)
				for err == nil {
					_, err = io.WriteString(conn, strings.Repeat("x", 1<<16))
				}
			})
			c := newClient(t, doveadm.Config{Endpoints: []string{url}, APISecret: "x"})
			_, err := c.MetadataGet(t.Context(), alice, key)
			require.ErrorIs(t, err, doveadm.ErrUnexpected)
			require.ErrorContains(t, err, "longer than 1 MiB")
		})
	}
}

// A server may answer before it has read all of the request, and not read on.
func TestAnswerBeforeTheEndOfTheRequest(t *testing.T) {
	url := serveRaw(t, func(conn net.Conn) {
		_, err := conn.Read(make([]byte, 1))
		if err == nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 401 Authentication required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn)
		}
	})
	c := newClient(t, doveadm.Config{Endpoints: []string{url}, APISecret: "x"})
	require.ErrorIs(t, c.MetadataSet(t.Context(), alice, key, strings.Repeat("x", 8<<20)), doveadm.ErrBadSecret)
}

func TestStrangeAnswers(t *testing.T) {
	for _, test := range []struct {
		name, answer string
		want         error
	}{
		{"no HTTP", "220 imap1 ESMTP\r\n", doveadm.ErrUnexpected},
		{"no JSON", ok("<html>"), doveadm.ErrUnexpected},
		{"null", ok("null"), doveadm.ErrUnexpected},
		{"no answer", ok("[]"), doveadm.ErrUnexpected},
		{"two answers, the JSON of 2.3", ok(`[["doveadmResponse",[],"t"]["error",{"type":"unknownMethod", "exitCode":0},"t"]]`), doveadm.ErrUnexpected},
		{"two answers", ok(`[["doveadmResponse",[],"t"],["doveadmResponse",[],"t"]]`), doveadm.ErrUnexpected},
		{"another tag", ok(`[["doveadmResponse",[],"u"]]`), doveadm.ErrUnexpected},
		{"another kind", ok(`[["doveadmRequest",[],"t"]]`), doveadm.ErrUnexpected},
		{"numbers", ok(`[["doveadmResponse",[{"value":7}],"t"]]`), doveadm.ErrUnexpected},
		{"an error without a type", ok(`[["error",{},"t"]]`), doveadm.ErrUnexpected},
		{"an error that is a text", ok(`[["error","no","t"]]`), doveadm.ErrUnexpected},
		{"another exit code", ok(`[["error",{"type":"exitCode","exitCode":77},"t"]]`), doveadm.ErrFailed},
		{"cut short", "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n[[", doveadm.ErrBroken},
		{"cut in its head", "HTTP/1.1 200 OK\r\nContent-Length: 4", doveadm.ErrBroken},
		{"nothing", "", doveadm.ErrNoAnswer},
		{"no value", ok(`[["doveadmResponse",[],"t"]]`), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			url := serveRaw(t, func(conn net.Conn) {
				req := make([]byte, 4096)
				_, _ = conn.Read(req)
				_, _ = io.WriteString(conn, test.answer)
			})
			c := newClient(t, doveadm.Config{Endpoints: []string{url}, APISecret: "x"})
			value, err := c.MetadataGet(t.Context(), alice, key)
			require.ErrorIs(t, err, test.want)
			assert.Empty(t, value)
		})
	}
}

func ok(body string) string {
	return "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json; charset=utf-8\r\n\r\n" + body
}

func serve(t *testing.T, handler http.HandlerFunc) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{Handler: handler}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return "http://" + listener.Addr().String()
}

func serveRaw(t *testing.T, handle func(net.Conn)) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			handle(conn)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return "http://" + listener.Addr().String()
}
