// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
)

var (
	errTimeout     = errors.New("there was no answer in time")
	errInterrupted = errors.New("the request was interrupted")
	errReset       = errors.New("the connection ended before the answer")
	errProtocol    = errors.New("the answer is no HTTP, exceeds a bound or was broken off")
	errNoTLS       = errors.New("the server does not speak TLS on this port")
)

// Failure says why a request got no answer: in one of a bounded set of words,
// and in an error that holds neither the URL, which may be a secret as a
// whole, nor anything that the other side sent. err must not be nil. The
// words:
//
//	address_refused  by the policy
//	dns              the host name could not be resolved
//	connect          nothing listens there, or it cannot be reached
//	tls              no TLS, or a certificate that does not fit
//	timeout          no answer in time
//	reset            the connection ended before the answer
//	interrupted      the context was cancelled
//	protocol         what was answered is no HTTP, exceeds a bound or was broken off
func Failure(err error) (word string, safe error) {
	var (
		refused *RefusedError
		dns     *net.DNSError
		cert    *tls.CertificateVerificationError
		record  tls.RecordHeaderError
		op      *net.OpError
		timeout net.Error
	)
	switch {
	case errors.As(err, &refused):
		return "address_refused", refused
	case errors.As(err, &dns):
		return "dns", dns
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return "timeout", errTimeout
	case errors.Is(err, context.Canceled):
		return "interrupted", errInterrupted
	case errors.As(err, &cert):
		return "tls", certificate(cert)
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return "tls", errNoTLS
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"): // what crypto/tls makes of alerts
		return "tls", op
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect"):
		return "connect", op
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset", errReset
	}
	return "protocol", errProtocol
}

// certificate shortens an error that lists every name of a certificate.
func certificate(err error) error {
	const enough = 300
	text := err.Error()
	if len(text) <= enough {
		return err
	}
	return fmt.Errorf("%s…", text[:enough])
}
