// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook delivers notifications to a URL of the operator: a POST with
// JSON, signed according to Standard Webhooks 1.0, or the body that another
// service expects, made by a template.
//
// The URL may be internal, because the operator sets it. Redirects are not
// followed. Proxies are taken from the environment (HTTPS_PROXY, HTTP_PROXY,
// NO_PROXY).
package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Config of a webhook.
type Config struct {
	// URL that notifications are sent to, http or https. [ID] in its path or
	// query stands for the identity of the notification. It may be a secret
	// as a whole, so no error and no log shows it. Required.
	URL string
	// Method of the requests. Default: POST.
	Method string
	// Content is how much of a mail is sent. Default:
	// [notification.Thin].
	Content notification.Content
	// Filter is which notifications are sent, see [Target.Wants].
	Filter Filter
	// Template makes the body. Default: the standard payload, see [Mail].
	Template string
	// Header fields in addition to Content-Type, User-Agent and those of
	// the signatures. A Content-Type given here is sent in the place of
	// application/json, and what a template makes need not be JSON then.
	Header http.Header
	// Templates make the values of further header fields, by their names.
	Templates map[string]string
	// Username and Password, HTTP Basic, if the user name is not empty.
	Username, Password string
	// Secrets sign each request as Standard Webhooks 1.0 does, once for each
	// secret. Several are for rotation. See [ParseSecret].
	Secrets [][]byte
	// SignatureHeader, if set, gets a signature with SignatureSecret as
	// Open-Xchange's own webhooks have it: t=<time>,v1=<hex>.
	SignatureHeader string
	SignatureSecret []byte
	// TLS of https. Default: the system's certificate authorities.
	TLS *tls.Config
	// Connections that are kept open for the next requests. Default: 64.
	Connections int
	// Decoder reads the records. Required.
	Decoder *notification.Decoder
}

// ID in a URL is replaced by the identity of the notification, for services
// that want an identifier of the transaction there. It is the same in each
// attempt.
const ID = "{notification.id}"

const (
	userAgent = "caddy-dovecot-push"
	jsonType  = "application/json"

	maxHeaders  = 64 << 10
	connectTime = 10 * time.Second
	idleTime    = 90 * time.Second
)

// Target is one webhook. It is safe for concurrent use.
type Target struct {
	url       func(notification.Identity) *url.URL
	request   *http.Request // what all requests have in common
	header    http.Header
	content   notification.Content
	filter    filter
	body      func(*Mail) ([]byte, error)
	values    map[string]func(*Mail) ([]byte, error) // of header fields
	signers   []*signer
	signed    string // name of the field of our own signature
	signature *signer
	transport *http.Transport
	decoder   *notification.Decoder
	now       func() time.Time
}

// New reads the configuration. Errors hold neither the URL nor a secret.
func New(cfg Config) (*Target, error) {
	t := &Target{content: cfg.Content, filter: newFilter(cfg.Filter), decoder: cfg.Decoder, now: time.Now}
	var err error
	if t.url, err = parseURL(cfg.URL); err != nil {
		return nil, err
	}
	t.request = &http.Request{
		Method: cfg.Method, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}
	if t.request.Method == "" {
		t.request.Method = http.MethodPost
	}
	if err := t.setHeader(cfg); err != nil {
		return nil, err
	}
	for _, secret := range cfg.Secrets {
		t.signers = append(t.signers, newSigner(secret))
	}
	if cfg.SignatureHeader != "" {
		t.signed, t.signature = http.CanonicalHeaderKey(cfg.SignatureHeader), newSigner(cfg.SignatureSecret)
	}
	t.body = standardBody
	if cfg.Template != "" {
		if t.body, err = parseTemplate(cfg.Template, t.header.Get("Content-Type") == jsonType); err != nil {
			return nil, err
		}
	}
	t.values = make(map[string]func(*Mail) ([]byte, error))
	for name, text := range cfg.Templates {
		if t.values[name], err = parseTemplate(text, false); err != nil {
			return nil, fmt.Errorf("header %s: %w", name, err)
		}
	}
	t.transport = newTransport(cfg)
	return t, nil
}

func parseURL(raw string) (func(notification.Identity) *url.URL, error) {
	u, err := url.Parse(strings.ReplaceAll(raw, ID, "ID"))
	switch {
	case err != nil:
		return nil, errors.New("the URL cannot be read")
	case u.Scheme != "https" && u.Scheme != "http", u.Host == "":
		return nil, errors.New("the URL must begin with https:// or http:// and a host")
	case u.User != nil:
		return nil, errors.New("the URL must not hold a user name or password: use credentials")
	case u.Fragment != "":
		return nil, errors.New("the URL must not have a fragment (#)")
	}
	if !strings.Contains(raw, ID) {
		return func(notification.Identity) *url.URL { return u }, nil
	}
	if _, rest, _ := strings.Cut(raw, "://"); strings.Contains(rest[:strings.IndexAny(rest+"/", "/?")], ID) {
		return nil, errors.New("the URL has " + ID + " in its host; it can stand in the path or the query")
	}
	return func(id notification.Identity) *url.URL {
		u, _ := url.Parse(strings.ReplaceAll(raw, ID, id.String())) // as the one above
		return u
	}, nil
}

// ours are fields that cannot be set.
var ours = []string{
	"Host", "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Te", "Upgrade",
	idHeader, timestampHeader, signatureHeader,
}

func (t *Target) setHeader(cfg Config) error {
	t.header = http.Header{
		"Content-Type": {jsonType},
		"User-Agent":   {userAgent},
		// Hidden, but net/http sends a request with it again automatically when
		// the server has closed the connection that it waited on.
		"Idempotency-Key": {},
	}
	for name, values := range cfg.Header {
		name = http.CanonicalHeaderKey(name)
		if slices.Contains(ours, name) {
			return fmt.Errorf("the header field %s cannot be set", name)
		}
		t.header[name] = values
	}
	for name := range cfg.Templates {
		if slices.Contains(ours, http.CanonicalHeaderKey(name)) {
			return fmt.Errorf("the header field %s cannot be set", name)
		}
	}
	if cfg.Username != "" {
		if t.header.Get("Authorization") != "" {
			return errors.New("credentials and a header field Authorization cannot be used together")
		}
		r := http.Request{Header: t.header}
		r.SetBasicAuth(cfg.Username, cfg.Password)
	}
	return nil
}

func newTransport(cfg Config) *http.Transport {
	connections := cfg.Connections
	if connections <= 0 {
		connections = 64
	}
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        cfg.TLS,
		TLSHandshakeTimeout:    connectTime,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: connectTime, PingTimeout: connectTime},
		MaxIdleConnsPerHost:    connections,
		IdleConnTimeout:        idleTime,
		MaxResponseHeaderBytes: maxHeaders,
		DisableCompression:     true,
	}
}

// Close closes the connections that no request uses.
func (t *Target) Close() { t.transport.CloseIdleConnections() }

// Wants reports whether the filter lets a notification pass.
func (t *Target) Wants(rec *queue.Record) bool {
	if t.filter.passes(rec.Body) {
		return true
	}
	n, err := notification.Identify(rec.Body, t.filter.events)
	if errors.Is(err, notification.ErrUnusedEvent) {
		return false
	}
	return err != nil || t.filter.match(n) // Deliver says what is wrong
}

// Deliver makes one attempt. The outcomes are those of
// [delivery.ResultOfStatus], but for 410: with it a receiver says that the
// webhook was removed there (Standard Webhooks 1.0), which only an operator
// can mend.
func (t *Target) Deliver(ctx context.Context, rec *queue.Record) delivery.Result {
	n, err := t.decoder.Decode(rec.Body)
	if err != nil {
		return delivery.Result{Outcome: delivery.Refused, Reason: "undecodable", Err: err}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := t.requestOf(ctx, rec, n)
	switch {
	case errors.Is(err, errSkip):
		return delivery.Result{Outcome: delivery.Delivered, Reason: "skipped"}
	case err != nil:
		return delivery.Result{Outcome: delivery.Refused, Reason: "template", Err: err}
	}
	resp, err := t.transport.RoundTrip(r) //nolint:bodyclose // Discard does
	if err != nil {
		return delivery.ResultOfFailure(err)
	}
	outbound.Discard(resp, cancel)
	result := delivery.ResultOfStatus(resp.StatusCode, resp.Header, t.now())
	if resp.StatusCode == http.StatusGone {
		result.Outcome = delivery.Misconfigured
	}
	if result.Outcome != delivery.Delivered {
		result.Err = fmt.Errorf("the webhook answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	return result
}

// requestOf makes the request for a notification. The error is that of a
// template.
func (t *Target) requestOf(ctx context.Context, rec *queue.Record, n *notification.Notification) (*http.Request, error) {
	mail := newMail(rec, n, t.content)
	body, err := t.body(mail)
	if err != nil {
		return nil, err
	}
	r := t.newRequest(ctx, rec.ID, body)
	for name, value := range t.values {
		text, err := value(mail)
		if err != nil {
			return nil, err
		}
		if !httpguts.ValidHeaderFieldValue(string(text)) {
			return nil, fmt.Errorf("what the template of the header field %s makes is no value for it", name)
		}
		r.Header.Set(name, string(text))
	}
	return r, nil
}

// Probe asks with HEAD whether somebody answers at the URL. Every answer of a
// service that is up will do: what it says to a notification is known when it
// gets one. It is Delivered then.
func (t *Target) Probe(ctx context.Context) delivery.Result {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := t.newRequest(ctx, notification.Identity{}, nil)
	r.Method, r.Body, r.GetBody = http.MethodHead, nil, nil
	resp, err := t.transport.RoundTrip(r) //nolint:bodyclose // Discard does
	if err != nil {
		reason, safe := outbound.Failure(err)
		return delivery.Result{Reason: reason, Err: safe}
	}
	outbound.Discard(resp, cancel)
	switch resp.StatusCode {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusGone:
		result := delivery.ResultOfStatus(resp.StatusCode, resp.Header, t.now())
		result.Err = fmt.Errorf("the webhook answers %d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
		return result
	}
	return delivery.Result{Outcome: delivery.Delivered, Reason: strconv.Itoa(resp.StatusCode)}
}

func (t *Target) newRequest(ctx context.Context, id notification.Identity, body []byte) *http.Request {
	r := t.request.WithContext(ctx)
	r.URL = t.url(id)
	r.Host = r.URL.Host
	r.ContentLength = int64(len(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body, _ = r.GetBody()
	r.Header = maps.Clone(t.header)
	t.sign(r.Header, id.String(), strconv.FormatInt(t.now().Unix(), 10), body)
	return r
}
