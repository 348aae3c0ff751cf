// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/cafile"
	"github.com/dovecotpush/caddy-dovecot-push/internal/doveconf"
)

// ProbeBody is a notification that the endpoint answers like any other but does
// not store, because nothing uses its event. Open-Xchange ignores it, too.
const ProbeBody = `{"user":"doctor@example.com","event":"doctorProbe","folder":"INBOX","imap-uidvalidity":1,"imap-uid":0}`

// slow is how long an answer may take before mail delivery suffers. Tests change
// it.
var slow = 100 * time.Millisecond

const (
	// probeTimeout bounds one request of the doctor.
	probeTimeout = 10 * time.Second
	// tries is how many requests are made while the answers are slow.
	tries = 5
	// skew is how far two clocks may be apart.
	skew = 30 * time.Second
)

// Way is how Dovecot reaches the notify endpoint.
type Way struct {
	// URL of its driver, with the credentials in it.
	URL string
	// TLS are its settings as a TLS client.
	TLS doveconf.Client
	// Elsewhere means that the files of TLS are on another machine.
	Elsewhere bool
	// Instance is that of the Caddy that was asked for its status; empty if none
	// was.
	Instance string
}

// Endpoint sends requests to the notify endpoint as Dovecot would.
func Endpoint(ctx context.Context, way Way) []Finding {
	var r report
	u, err := url.Parse(way.URL)
	if err != nil || u.Host == "" {
		r.problem("endpoint", "the URL of the driver", "it is not valid", "Write it as http(s)://user:password@host:port/path")
		return r.findings
	}
	if _, given := u.User.Password(); !given || u.User.Username() == "" {
		u.User = nil // Dovecot sends no credentials then
	}
	e := &endpoint{url: u, tried: "PUT " + u.Scheme + "://" + u.Host + u.EscapedPath(), way: way}
	config, ok := e.tls(&r)
	if !ok {
		return r.findings
	}
	client := &http.Client{
		// A connection for each request: another process on the port takes some of them.
		Transport:     &http.Transport{TLSHandshakeTimeout: probeTimeout, TLSClientConfig: config, DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if name := sentName(u); u.Scheme == "https" && name != "" {
		if got := refusedName(ctx, u, name); got != "" {
			r.problem("endpoint-tls", e.tried+" with the server name "+name+", as Dovecot sends it", got,
				"Write a host name into the URL of the driver, and into the site of the Caddyfile.")
			return r.findings
		}
	}
	e.ask(ctx, client, &r)
	return r.findings
}

type endpoint struct {
	url       *url.URL
	tried     string
	way       Way
	instances map[string]bool
}

// tls returns the TLS configuration of Dovecot: what it trusts, and its client
// certificate. ok is false if that cannot work.
func (e *endpoint) tls(r *report) (config *tls.Config, ok bool) {
	if e.url.Scheme != "https" {
		return nil, true
	}
	trust := e.way.TLS
	config = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: trust.Unverified} //nolint:gosec // Dovecot's own setting
	failed := func(file string, err error, fix string) bool {
		if e.way.Elsewhere && errors.Is(err, fs.ErrNotExist) {
			config.InsecureSkipVerify = true
			r.add("endpoint-tls", Skipped, "the file "+file, "it is on Dovecot's machine: whether Dovecot trusts the endpoint is not seen here", "Run the doctor there.")
			return true
		}
		r.problem("endpoint-tls", "the file "+file, err.Error(), fix)
		return false
	}
	const fix = "Put the CA of the endpoint there: caddy dovecot-push dovecot-config --print-ca"
	if trust.CAFile != "" || trust.CADir != "" {
		config.RootCAs = x509.NewCertPool()
	}
	if trust.CAFile != "" {
		if err := cafile.Add(config.RootCAs, trust.CAFile); err != nil && !failed(trust.CAFile, err, fix) {
			return nil, false
		}
	}
	if trust.CADir != "" {
		entries, err := os.ReadDir(trust.CADir)
		if err != nil && !failed(trust.CADir, err, fix) {
			return nil, false
		}
		for _, entry := range entries {
			_ = cafile.Add(config.RootCAs, filepath.Join(trust.CADir, entry.Name())) // others have other files there
		}
	}
	if trust.CertFile != "" {
		certificate, err := tls.LoadX509KeyPair(trust.CertFile, trust.KeyFile)
		if err != nil {
			return config, failed(trust.CertFile, err, "Put the certificate that Dovecot shows there, and its key.")
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, true
}

func (e *endpoint) ask(ctx context.Context, client *http.Client, r *report) {
	a, err := e.put(ctx, client, e.url)
	if err != nil {
		e.failed(err, r)
		return
	}
	e.answered(a, r)
	if a.accepted && e.url.User != nil {
		e.askAsStranger(ctx, client, r)
	}
	e.sharers(ctx, client, r)
	took := a.took
	// The first request includes the handshake of a connection that Dovecot
	// keeps, and any request may have met a busy moment.
	for try := 0; took > slow && try < tries; try++ {
		if again, err := e.put(ctx, client, e.url); err == nil {
			took = min(took, again.took)
		}
	}
	if took > slow {
		r.warning("endpoint-latency", e.tried, fmt.Sprintf("it answered after %s at best: each mail waits for that", took.Round(time.Millisecond)),
			"Put Caddy near Dovecot, and its queue on a fast local disk.")
	}
	if date, err := http.ParseTime(a.date); err == nil {
		if off := time.Since(date).Abs(); off > skew {
			r.warning("clock", "the clocks of this machine and of Caddy", fmt.Sprintf("they are %s apart", off.Round(time.Second)), "Let both keep the time (chrony, systemd-timesyncd).")
		}
	}
}

// shared is how many requests it takes to find out whether another process shares
// the port.
const shared = 10

// sharers finds other Caddy processes at the same address. They get some of the
// requests, which nobody notices.
func (e *endpoint) sharers(ctx context.Context, client *http.Client, r *report) {
	if len(e.instances) == 0 {
		return // it tells nobody, without credentials or success
	}
	for range shared {
		_, _ = e.put(ctx, client, e.url)
	}
	if e.way.Instance != "" {
		e.instances[e.way.Instance] = true
	}
	const check = "endpoint-shared"
	if len(e.instances) == 1 {
		r.ok(check, e.tried, "one Caddy answers")
		return
	}
	r.warning(check, e.tried, fmt.Sprintf("%d Caddys answer: each gets a part of what Dovecot reports", len(e.instances)),
		"Are several meant to be there, behind a load balancer, with one queue (queue nats)? Otherwise end those that are not: \"ss -ltnp\" shows them.")
}

// askAsStranger sends a request without the credentials, which the endpoint must
// refuse. A request from another network cannot be made here: for that, the
// configuration is checked.
func (e *endpoint) askAsStranger(ctx context.Context, client *http.Client, r *report) {
	stranger := *e.url
	stranger.User = nil
	const check = "endpoint-stranger"
	tried := e.tried + " without credentials"
	switch a, err := e.put(ctx, client, &stranger); {
	case err != nil:
		r.add(check, Skipped, tried, "no answer", "")
	case a.accepted:
		r.warning(check, tried, "200 OK: it lets in who shows none", "Add credentials to dovecot_push_notify, and take unauthenticated away.")
	default:
		r.ok(check, tried, a.text())
	}
}

// answer is what came back.
type answer struct {
	status int
	// accepted means that the notify endpoint itself answered with success. Caddy
	// answers 200 to every request that no handler takes.
	accepted bool
	date     string
	took     time.Duration
}

func (a *answer) text() string { return fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)) }

// put sends one request.
func (e *endpoint) put(ctx context.Context, client *http.Client, to *url.URL) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), strings.NewReader(ProbeBody))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	req.Header.Set(adminapi.ProbeHeader, "doctor")
	start := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	a := &answer{status: resp.StatusCode, date: resp.Header.Get("Date"), took: time.Since(start)}
	if id := resp.Header.Get(adminapi.InstanceHeader); id != "" {
		if e.instances == nil {
			e.instances = make(map[string]bool)
		}
		e.instances[id] = true
	}
	var body struct{ Success bool }
	err = json.NewDecoder(io.LimitReader(resp.Body, 1<<16)).Decode(&body)
	a.accepted = a.status == http.StatusOK && err == nil && body.Success
	return a, resp.Body.Close()
}

// failed explains why there was no answer.
func (e *endpoint) failed(err error, r *report) {
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		invalid  x509.CertificateInvalidError
		dns      *net.DNSError
	)
	switch {
	case errors.As(err, &unknown):
		r.problem("endpoint-tls", e.tried, "its certificate comes from a CA that Dovecot does not trust",
			"Give Dovecot the CA of the endpoint with ssl_client_ca_file: caddy dovecot-push dovecot-config --print-ca")
	case errors.As(err, &hostname):
		r.problem("endpoint-tls", e.tried, "its certificate is for another name than "+e.url.Hostname(),
			"Use a name or an address of the site in the Caddyfile in the URL of the driver, or add this one to the site.")
	case errors.As(err, &invalid):
		r.problem("endpoint-tls", e.tried, "its certificate is not valid: "+invalid.Error(), "Look at the log of Caddy for why it does not renew it.")
	case errors.Is(err, http.ErrSchemeMismatch):
		r.problem("endpoint-tls", e.tried, "it does not talk TLS", "Write http:// into the URL of the driver, or https:// into the site of the Caddyfile.")
	case errors.As(err, &dns):
		r.problem("endpoint", e.tried, "the host name cannot be looked up", "Mend the host in the URL of the driver, or the DNS.")
	case errors.Is(err, context.DeadlineExceeded):
		r.problem("endpoint", e.tried, "no answer within "+probeTimeout.String(), "Is a firewall between Dovecot and Caddy?")
	default:
		if reason, ok := errors.AsType[*net.OpError](err); ok && reason.Op == "dial" {
			r.problem("endpoint", e.tried, "nothing listens there: "+reason.Err.Error(), "Is Caddy running, and is that the port of its site?")
			return
		}
		if reason, ok := errors.AsType[*url.Error](err); ok {
			err = reason.Err // without the URL, which has the password in it
		}
		r.problem("endpoint", e.tried, "the connection ended without an answer: "+err.Error(), "Look at the log of Caddy.")
	}
}

// answered explains the answer.
func (e *endpoint) answered(a *answer, r *report) {
	status, got := a.status, a.text()
	switch {
	case a.accepted:
		r.ok("endpoint", e.tried, got)
	case status == http.StatusOK:
		r.problem("endpoint-path", e.tried, got+", but not from the notify endpoint: what Dovecot reports is lost without an error",
			"Is dovecot_push_notify in the site with this name and port? End each site with respond 404.")
	case status == http.StatusBadRequest && e.url.Scheme == "http":
		r.problem("endpoint-tls", e.tried, got+": it talks TLS", "Write https:// into the URL of the driver, or http:// into the site of the Caddyfile.")
	case status == http.StatusForbidden:
		r.problem("endpoint-allow", e.tried, got+": this machine may not come in", "Add the address of this machine to allow of dovecot_push_notify.")
	case status == http.StatusUnauthorized:
		r.problem("endpoint-credentials", e.tried, got+": the endpoint does not know these credentials", "Use the user name and password of credentials in the URL of the driver.")
	case status == http.StatusTooManyRequests:
		r.warning("endpoint-credentials", e.tried, got+": too many wrong credentials came from here", "Mend the credentials, then wait a minute.")
	case status == http.StatusNotFound, status == http.StatusMethodNotAllowed:
		r.problem("endpoint-path", e.tried, got+": the notify endpoint has another path", "Use the path of dovecot_push_notify in the URL of the driver.")
	case status == http.StatusServiceUnavailable:
		r.problem("queue", e.tried, got+": the queue cannot store", "Look at the log of Caddy: is the disk full, or the NATS cluster away?")
	default:
		r.problem("endpoint", e.tried, got, "Is that the notify endpoint? Another server answers so.")
	}
}
