// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package notify is the endpoint that Dovecot reports new mail to:
//
//	PUT /preliminary/http-notify/v1/notify
//
// The caller has matched the path and the source network. The handler checks
// the request, passes the notification as Dovecot sent it to a function that
// stores it, answers, and reports one [Result] per request. Nothing here waits
// for a delivery.
//
// The answers are made for Dovecot: it delays the delivery of mail until it has
// one, for 2 seconds by default, looks at the status class only, and tries
// again only after 408, 503 with Retry-After and Date, or no answer. It forgets
// notifications that were not answered with 2xx.
//
// Like everything below handlers, it makes no promise of stability before v1.
package notify

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/credentials"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Defaults of [Handler].
const (
	// DefaultMaxBody is 6 MiB: Dovecot sends From and Subject in full, which
	// was seen to make up to 5.3 MB.
	DefaultMaxBody int64 = 6 << 20
	// DefaultReadTimeout bounds how long a body may take.
	DefaultReadTimeout = 10 * time.Second
	// DefaultWaitTimeout leaves Dovecot, which by default gives up after 2
	// seconds, time to read an answer that makes it try again.
	DefaultWaitTimeout = 1800 * time.Millisecond
)

// CertificateMode is the role of client certificates.
type CertificateMode int

const (
	// CertificateIgnored: none is required.
	CertificateIgnored CertificateMode = iota
	// CertificateSufficient: a verified one replaces credentials.
	CertificateSufficient
	// CertificateRequired: a verified one is required, in addition to
	// credentials if there are any.
	CertificateRequired
)

// Handler is the endpoint. Its fields must not change while it serves.
//
// One of Credentials, ClientCertificate and Unauthenticated must be set.
// Otherwise the Handler answers 403.
type Handler struct {
	// Credentials, if not nil, are required as HTTP Basic (RFC 7617).
	Credentials *credentials.Verifier
	// ClientCertificate is the role of client certificates. Only those count
	// that the server has verified (crypto/tls: VerifiedChains).
	ClientCertificate CertificateMode
	// Unauthenticated allows everybody if there are no credentials and client
	// certificates are ignored.
	Unauthenticated bool

	// Accept stores a notification and returns when it is durable. It respects
	// its context. Its errors are those of [queue.Queue.Accept]. Required.
	Accept func(ctx context.Context, r queue.Record, window time.Duration) (duplicate bool, err error)

	// Events are the events that are stored. Default:
	// [notification.MessageNew].
	Events notification.Events
	// MaxBody is the largest body, in bytes. Default: [DefaultMaxBody].
	MaxBody int64
	// ReadTimeout is how long the body may take to arrive. Default:
	// [DefaultReadTimeout].
	ReadTimeout time.Duration
	// WaitTimeout is how long Accept may take. Default: [DefaultWaitTimeout].
	WaitTimeout time.Duration

	// Peer returns the address that wrong credentials are counted for and
	// that the log shows. Default: the peer of the connection.
	Peer func(*http.Request) (netip.Addr, bool)
	// Logger gets refusals that an operator must fix, rate limited, and at
	// level debug everything else. It never gets anything of a notification.
	// Required.
	Logger *slog.Logger
	// Instance is returned to allowed peers that ask for it, see
	// [adminapi.InstanceHeader].
	Instance string
	// Repaired, if set, is called for each notification of Dovecot 2.2.19 to
	// 2.2.32 that was stored as valid JSON, see [notification.Notification.Repair].
	Repaired func()
	// Observe, if set, is called for each request with its source, which is not
	// valid if that is no IP address, and the time it took.
	Observe func(result Result, source netip.Addr, took time.Duration)

	complaints complaints
}

// ServeHTTP answers one request, whatever its path.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	source := h.source(r)
	result, refusal := h.serve(w, r, source)
	if refusal != nil {
		result = refusal.result
		refusal.write(w)
		h.complain(r.Context(), source, refusal)
	} else {
		if h.Instance != "" && r.Header.Get(adminapi.ProbeHeader) != "" {
			w.Header().Set(adminapi.InstanceHeader, h.Instance)
		}
		writeSuccess(w)
		if h.Logger.Enabled(r.Context(), slog.LevelDebug) {
			h.Logger.DebugContext(r.Context(), "took a notification", "result", string(result), "remote", source, "took", time.Since(start))
		}
	}
	if h.Observe != nil {
		h.Observe(result, source, time.Since(start))
	}
}

// serve decides about the request without answering it. It refuses as much as
// possible before it reads the body.
func (h *Handler) serve(w http.ResponseWriter, r *http.Request, source netip.Addr) (Result, *refusal) {
	// The deadline bounds our reads and those of net/http after us: it reads
	// the body of a refused request, up to 256 KiB, so that Dovecot can reuse
	// its connection. If a deadline cannot be set, the server's limits remain.
	controller := http.NewResponseController(w)
	if r.ContentLength != 0 {
		_ = controller.SetReadDeadline(time.Now().Add(orDefault(h.ReadTimeout, DefaultReadTimeout)))
	}
	if refusal := h.authenticate(r, source); refusal != nil {
		return "", refusal
	}
	if r.Method != http.MethodPut {
		return "", refusedMethod
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return "", refusedMediaType
	}
	body, refusal := readBody(r, orDefault(h.MaxBody, DefaultMaxBody))
	if refusal != nil {
		return "", refusal
	}
	// It was for the body alone; not every server forgets it automatically.
	_ = controller.SetReadDeadline(time.Time{})
	return h.store(r, body)
}

// store stores the notification if the body is valid. The content of the mail
// is not decoded before delivery.
func (h *Handler) store(r *http.Request, body []byte) (Result, *refusal) {
	n, err := notification.Identify(body, h.Events)
	if err != nil {
		return refuseBody(err)
	}
	id, window := n.Identity(body, r.Header.Get("Date"))
	body, repaired := n.Repair(body)
	if repaired && h.Repaired != nil {
		h.Repaired()
	}
	record := queue.Record{Mailbox: n.Mailbox(), UID: n.UID, Accepted: time.Now(), Body: body}
	record.ID = id
	// Dovecot may give up earlier than we do. The notification is still stored,
	// and is a duplicate when it is sent again.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), orDefault(h.WaitTimeout, DefaultWaitTimeout))
	defer cancel()
	duplicate, err := h.Accept(ctx, record, window)
	switch {
	case err != nil:
		return "", refuseUnstored(err)
	case duplicate:
		return Duplicate, nil
	default:
		return Accepted, nil
	}
}

// source returns where the request came from. It is invalid if that is not an
// IP address.
func (h *Handler) source(r *http.Request) netip.Addr {
	if h.Peer != nil {
		if addr, ok := h.Peer(r); ok {
			return addr
		}
		return netip.Addr{}
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return peer.Addr().Unmap()
}

func orDefault[T int64 | time.Duration](value, otherwise T) T {
	if value <= 0 {
		return otherwise
	}
	return value
}
