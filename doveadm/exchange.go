// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

const (
	// maxAnswer bounds the answer to a command, head and body: half a million
	// users with a METADATA value each.
	maxAnswer = 64 << 20
	// maxUserAnswer bounds it where the answer is about one user.
	maxUserAnswer = 1 << 20
	// maxReason bounds what is quoted of an answer in an error.
	maxReason = 200
)

// bounds of one exchange.
type bounds struct {
	read   time.Duration // until the end of the answer, once there is a connection
	answer int64         // bytes
}

// exchange sends one request and reads the answer. Dovecot closes the connection
// after each, so that there is nothing to keep; and whether it was made at all,
// and whether anything came back on it, is what a caller needs to know. The
// error wraps one of the package's, or is that of the context.
func (c *Client) exchange(ctx context.Context, e *endpoint, method string, body []byte, b bounds) (status int, answer []byte, err error) {
	conn, err := c.connect(ctx, e)
	if err != nil {
		return 0, nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(b.read))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	req, err := http.NewRequestWithContext(ctx, method, e.url.String(), bytes.NewReader(body))
	if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", err, ErrUsage)
	}
	// No "Connection: close": Dovecot 2.3 and 2.4 never answer a command with
	// that and a wrong secret.
	req.Header.Set("Authorization", c.authorization)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "caddy-dovecot-push")
	// A server may answer, with 401 for one, before it has read everything.
	writeErr := req.Write(conn)
	status, answer, err = readAnswer(conn, req, b.answer)
	switch {
	case err == nil:
		return status, answer, nil
	case ctx.Err() != nil:
		return 0, nil, ctx.Err()
	case isTimeout(err) || isTimeout(writeErr):
		return 0, nil, fmt.Errorf("after %s: %w", b.read, ErrTimeout)
	case writeErr != nil:
		return 0, nil, fmt.Errorf("%w: %w", writeErr, ErrBroken)
	}
	return 0, nil, err
}

// connect makes a connection, with TLS if the endpoint is one of https.
func (c *Client) connect(ctx context.Context, e *endpoint) (net.Conn, error) {
	dialCtx, cancel := context.WithTimeout(ctx, c.cfg.ConnectTimeout)
	defer cancel()
	conn, err := c.cfg.Dial(dialCtx, "tcp", e.address)
	if err == nil && e.url.Scheme == "https" {
		secured := tls.Client(conn, c.tlsConfig(e))
		if err = secured.HandshakeContext(dialCtx); err != nil {
			_ = conn.Close()
		}
		conn = secured
	}
	switch {
	case err == nil:
		return conn, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case dialCtx.Err() != nil:
		return nil, fmt.Errorf("not connected after %s: %w", c.cfg.ConnectTimeout, ErrUnreachable)
	}
	return nil, fmt.Errorf("%w: %w", err, ErrUnreachable)
}

func (c *Client) tlsConfig(e *endpoint) *tls.Config {
	cfg := c.cfg.TLS.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cfg.ServerName == "" {
		cfg.ServerName = e.url.Hostname()
	}
	return cfg
}

// readAnswer reads the answer to a request until its end.
func readAnswer(conn io.Reader, req *http.Request, limit int64) (status int, answer []byte, err error) {
	limited := &io.LimitedReader{R: conn, N: limit}
	r := bufio.NewReader(limited)
	if _, err := r.Peek(1); errors.Is(err, io.EOF) {
		return 0, nil, ErrNoAnswer
	} else if err != nil {
		return 0, nil, fmt.Errorf("%w: %w", err, ErrBroken)
	}
	resp, err := http.ReadResponse(r, req)
	for err == nil && resp.StatusCode < http.StatusOK { // 103 of something in between
		resp, err = http.ReadResponse(r, req)
	}
	if err == nil {
		defer resp.Body.Close()
		answer, err = io.ReadAll(resp.Body)
	}
	var netErr net.Error
	switch {
	case limited.N <= 0:
		return 0, nil, fmt.Errorf("longer than %d MiB: %w", limit>>20, ErrUnexpected)
	case err == nil:
		return resp.StatusCode, answer, nil
	case errors.As(err, &netErr), errors.Is(err, io.ErrUnexpectedEOF):
		return 0, nil, fmt.Errorf("%w: %w", err, ErrBroken)
	}
	return 0, nil, fmt.Errorf("%w: %w", err, ErrUnexpected)
}

func isTimeout(err error) bool {
	var netErr net.Error
	return errors.As(err, &netErr) && netErr.Timeout()
}
