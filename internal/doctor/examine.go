// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/url"

	"github.com/dovecotpush/caddy-dovecot-push/internal/doveconf"
)

// Patient is everything that is checked.
type Patient struct {
	// Caddy is the admin API of the running Caddy.
	Caddy Admin
	// Dovecot reads the configuration of Dovecot.
	Dovecot func(context.Context) (*doveconf.Config, error)
	// URL, if set, is that of an endpoint that no Dovecot on this machine reports
	// to, with credentials; CAFile is its CA.
	URL    *url.URL
	CAFile string
	// User, if set, is checked as well.
	User string
	// LMTP, if set, is where a real mail to User is delivered: host:port or the
	// path of a socket.
	LMTP string
	// Follow begins to trace the notification of the mail, identified by its
	// subject or the user. Required with LMTP.
	Follow func(subject, user string) (Following, error)
}

// Following is the trace of a notification.
type Following interface {
	io.Closer
	// Wait waits until every target has the notification. The error names one
	// that has not.
	Wait() error
}

// Examine makes every check.
func (p *Patient) Examine(ctx context.Context) []Finding {
	var r report
	found, status := Caddy(p.Caddy, p.User)
	r.findings = found
	want, instance := Wanted{}, ""
	if status != nil {
		want, instance = WantedBy(status), status.Instance
	}
	want.User = p.User
	p.dovecot(ctx, want, instance, &r)
	if p.URL != nil {
		way := Way{URL: p.URL.String(), TLS: doveconf.Client{CAFile: p.CAFile}, Instance: instance}
		r.findings = append(r.findings, Endpoint(ctx, way)...)
	}
	if p.LMTP != "" {
		p.deliver(&r)
	}
	return r.findings
}

// dovecot checks the configuration of Dovecot, and sends requests to its
// endpoints as Dovecot would.
func (p *Patient) dovecot(ctx context.Context, want Wanted, instance string, r *report) {
	const check, tried = "dovecot", "doveconf"
	config, err := p.Dovecot(ctx)
	switch {
	case errors.Is(err, doveconf.ErrNotInstalled):
		r.add(check, Skipped, tried, err.Error(), "Run it where Dovecot is, or give what \"doveconf -n -P\" prints there with --doveconf.")
		return
	case errors.Is(err, doveconf.ErrNotPermitted):
		r.add(check, Skipped, tried, err.Error(), "Run the doctor as root: sudo caddy dovecot-push doctor")
		return
	case err != nil:
		r.problem(check, tried, err.Error(), "Mend Dovecot's configuration: it cannot start with it.")
		return
	}
	r.findings = append(r.findings, Dovecot(config, want)...)
	for _, d := range Drivers(config, want) {
		u, _ := d.URL(cmp.Or(p.User, "doctor@example.com"))
		way := Way{URL: u, TLS: d.Client, Elsewhere: !config.Local, Instance: instance}
		r.findings = append(r.findings, Endpoint(ctx, way)...)
	}
}

// deliver sends a mail and traces its notification. It is identified by the
// subject, because with user_from_metadata its user is whatever the METADATA
// entry says. A script may report no subject: then the login identifies it.
func (p *Patient) deliver(r *report) {
	const check = "deliver"
	subject := TestSubject()
	following, err := p.Follow(subject, p.User)
	if err != nil {
		r.add(check, Skipped, "to follow a notification", err.Error(), "Mend what is said of Caddy first. No mail was sent.")
		return
	}
	defer following.Close()
	sent := Deliver(p.LMTP, p.User, subject)
	r.findings = append(r.findings, sent)
	if sent.Status != OK {
		return
	}
	const tried = "its notification"
	if err := following.Wait(); err != nil {
		r.problem(check, tried, err.Error(),
			"See what else was found: is the user registered, is the plugin loaded, does the driver reach the endpoint? Dovecot's log says \"Error when sending notification\" if it tried.")
		return
	}
	r.ok(check, tried, "every target has it")
}
