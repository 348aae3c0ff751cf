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
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
)

// probeBody is a request that the endpoint answers like every other, and does
// not store: an event that nobody has a use for.
const probeBody = `{"user":"doctor@example.com","event":"doctorProbe","folder":"INBOX","imap-uidvalidity":1,"imap-uid":0}`

const (
	// probeTimeout bounds one request of the doctor.
	probeTimeout = 10 * time.Second
	// slow is when the answer takes so long that mail delivery suffers.
	slow = 100 * time.Millisecond
	// tries is how often a slow answer is asked for again.
	tries = 5
	// skew is how far two clocks may be apart.
	skew = 30 * time.Second
)

// Endpoint asks the notify endpoint the way Dovecot would: with the URL of
// its driver, credentials included, and the CA file that Dovecot trusts.
func Endpoint(ctx context.Context, driverURL, caFile string) []Finding {
	var r report
	u, err := url.Parse(driverURL)
	if err != nil || u.Host == "" {
		r.problem("endpoint", "the URL of the driver", "it is not valid", "Write it as http(s)://user:password@host:port/path")
		return r.findings
	}
	e := &endpoint{url: u, tried: "PUT " + u.Scheme + "://" + u.Host + u.EscapedPath()}
	client, err := e.client(caFile)
	if err != nil {
		r.problem("endpoint-tls", "the file "+caFile, err.Error(), "Put the CA of the endpoint there: caddy dovecot-push dovecot-config --print-ca")
		return r.findings
	}
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	e.ask(ctx, client, &r)
	return r.findings
}

type endpoint struct {
	url   *url.URL
	tried string
}

// client is an HTTP client that trusts whom Dovecot trusts.
func (e *endpoint) client(caFile string) (*http.Client, error) {
	transport := &http.Transport{TLSHandshakeTimeout: probeTimeout}
	if e.url.Scheme == "https" {
		transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if caFile != "" {
			pem, err := os.ReadFile(caFile)
			if err != nil {
				return nil, err
			}
			transport.TLSClientConfig.RootCAs = x509.NewCertPool()
			if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
				return nil, errors.New("there is no certificate in it")
			}
		}
	}
	return &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
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
	took := a.took
	// The first request paid for the connection, which Dovecot keeps, and any
	// one may have met a busy moment.
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

// askAsStranger asks without the credentials, which the endpoint must not take.
// From another network nothing can be asked here: the configuration tells who
// may come in.
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
	// accepted tells that it is the notify endpoint that answered, and with
	// success: a Caddy says 200 to everything that no handler takes.
	accepted bool
	date     string
	took     time.Duration
}

func (a *answer) text() string { return fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)) }

// put sends one request.
func (e *endpoint) put(ctx context.Context, client *http.Client, to *url.URL) (*answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, to.String(), strings.NewReader(probeBody))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json; charset=utf-8")
	start := time.Now()
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	a := &answer{status: resp.StatusCode, date: resp.Header.Get("Date"), took: time.Since(start)}
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
