// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/dovecotpush/caddy-dovecot-push/internal/doctor"
)

const (
	// lowDisk is when the disk of the queue counts as nearly full.
	lowDisk = 256 << 20
	// oldWait is when a notification that waits is worth a word.
	oldWait = 5 * time.Minute
)

// examineCaddy asks the running Caddy how it is. status is nil if it cannot
// be asked.
func (c *client) examineCaddy() (findings []doctor.Finding, status *Status) {
	const tried = "the admin API at "
	status = new(Status)
	if err := c.call(http.MethodGet, "status", nil, status); err != nil {
		return []doctor.Finding{{
			Check: "caddy", Status: doctor.Problem, Tried: tried + c.address, Got: err.Error(),
			Fix: "Start Caddy with the global option dovecot_push, or give the address of its admin API with --address.",
		}}, nil
	}
	findings = append(findings, doctor.Finding{Check: "caddy", Status: doctor.OK, Tried: tried + c.address, Got: "dovecot_push runs"})
	if len(status.Endpoints) == 0 {
		findings = append(findings, doctor.Finding{
			Check: "endpoint-configured", Status: doctor.Problem, Tried: "the configuration of Caddy", Got: "no site has dovecot_push_notify",
			Fix: "Add dovecot_push_notify to a site of the Caddyfile.",
		})
	}
	return findings, status
}

// wanted is what Dovecot should be configured for.
func (s *Status) wanted() doctor.Wanted {
	var want doctor.Wanted
	if len(s.Endpoints) > 0 {
		want.Path = s.Endpoints[0].Path
	}
	if r := s.Registration; r != nil {
		want.DoveAdm, want.IMAP = r.Via == "doveadm", r.Via == "imap"
		want.AllUsers = r.Users == "all"
	}
	return want
}

// examineStatus judges what the running Caddy told.
func examineStatus(s *Status) []doctor.Finding {
	var all []doctor.Finding
	add := func(check string, status doctor.Status, tried, got, fix string) {
		all = append(all, doctor.Finding{Check: check, Status: status, Tried: tried, Got: got, Fix: fix})
	}
	for _, e := range s.Endpoints {
		tried := fmt.Sprintf("allow of the endpoint %s", e.Path)
		switch {
		case e.Nobody:
			add("guard", doctor.Problem, tried, "it is empty: nobody may come in", "Write the addresses of your mail servers into allow.")
		case e.Everybody && !e.Credentials && e.ClientCertificate == "":
			add("guard", doctor.Problem, tried, "everybody may come in, and nothing is asked for", "Write the addresses of your mail servers into allow, and add credentials.")
		case e.Everybody:
			add("guard", doctor.Warning, tried, "everybody may come in", "Write the addresses of your mail servers into allow.")
		default:
			add("guard", doctor.OK, tried, "strangers stay out", "")
		}
	}
	q := s.Queue
	switch {
	case !q.Up:
		add("queue", doctor.Problem, "the queue", q.Error, "Look at the log of Caddy: is the disk full or read-only, or the NATS cluster away?")
	case q.MaxBytes > 0 && q.Bytes > uint64(q.MaxBytes)*9/10:
		add("queue", doctor.Warning, "the queue", fmt.Sprintf("it holds %s of %s", humanize.IBytes(q.Bytes), humanize.IBytes(uint64(q.MaxBytes))),
			"Which target is down? When it is full, Dovecot gets 503. Raise max_bytes if the outage will last.")
	default:
		add("queue", doctor.OK, "the queue", fmt.Sprintf("%d waiting", q.Notifications), "")
	}
	if q.DiskFree != nil && *q.DiskFree < lowDisk {
		add("disk", doctor.Warning, "the disk of the queue", humanize.IBytes(*q.DiskFree)+" are left", "Make room: on a full disk nothing can be stored.")
	}
	if len(s.Targets) == 0 && q.Up { // they are not known before the queue is open
		add("targets", doctor.Problem, "the configuration of Caddy", "there is no target: notifications go nowhere", "Add a deliver block to dovecot_push.")
	}
	for _, t := range s.Targets {
		tried := "target " + t.Name
		switch {
		case !t.Up:
			add("targets", doctor.Problem, tried, fmt.Sprintf("it is down; %d wait for it", t.Waiting+t.Parked), "The log of Caddy says why: \"the target is down\" or \"the target refuses us\".")
		case t.Oldest != nil && time.Since(*t.Oldest) > oldWait:
			add("targets", doctor.Warning, tried, "the oldest notification waits for "+time.Since(*t.Oldest).Round(time.Second).String(), "Is it slow? Look at delivery_duration_seconds.")
		default:
			add("targets", doctor.OK, tried, "it takes notifications", "")
		}
		if t.DeadLetters > 0 {
			add("dead-letters", doctor.Warning, tried, fmt.Sprintf("%d dead letters", t.DeadLetters), "caddy dovecot-push dead-letters shows them, replay sends them again.")
		}
	}
	return all
}

// examineRegistration looks at the connector and at who is registered.
func (c *client) examineRegistration(s *Status, user string) []doctor.Finding {
	var all []doctor.Finding
	add := func(check string, status doctor.Status, tried, got, fix string) {
		all = append(all, doctor.Finding{Check: check, Status: status, Tried: tried, Got: got, Fix: fix})
	}
	for _, e := range s.DoveAdm {
		if tried := "DoveAdm endpoint " + e.Endpoint; e.Up {
			add("doveadm", doctor.OK, tried, "in service", "")
		} else {
			add("doveadm", doctor.Problem, tried, "out of service: "+e.Error, "Does Dovecot's service doveadm listen there, and does a firewall let Caddy through?")
		}
	}
	if r := s.Registration; r != nil && !r.Up {
		add("registration", doctor.Problem, "registration over "+r.Via, r.Error, "Mend that, then: caddy dovecot-push register <user>")
	} else if r != nil {
		add("registration", doctor.OK, "registration over "+r.Via, "users can be registered", "")
	}
	if user == "" {
		return all
	}
	if s.Registration == nil {
		add("registered", doctor.Skipped, "whether the user is registered", "nobody registers users here",
			"Configure doveadm or imap in dovecot_push, or set the METADATA entry with doveadm.")
		return all
	}
	var reg Registration
	err := c.call(http.MethodGet, "registrations?"+url.Values{"user": {user}}.Encode(), nil, &reg)
	switch {
	case err != nil:
		add("registered", doctor.Problem, "the METADATA entry of the user", err.Error(), "Does Dovecot know the user by this name?")
	case reg.Value == nil || *reg.Value == "":
		add("registered", doctor.Problem, "the METADATA entry of the user", "there is none ("+reg.State+"): Dovecot reports nothing for them",
			"caddy dovecot-push register <user>, or let the user subscribe a device.")
	default:
		add("registered", doctor.OK, "the METADATA entry of the user", "registered", "")
	}
	return all
}

// examineKeys looks at the keys of Web Push. Where it is not configured they are
// not asked for: Caddy logs a 404 of its admin API as an error.
func (c *client) examineKeys(s *Status) []doctor.Finding {
	const tried = "the keys of Web Push"
	if !slices.ContainsFunc(s.Targets, func(t TargetStatus) bool { return t.Name == webpushName }) {
		return nil
	}
	var keys VAPIDKeys
	err := c.call(http.MethodGet, "vapid", nil, &keys)
	switch {
	case err != nil:
		return []doctor.Finding{{Check: "webpush-keys", Status: doctor.Problem, Tried: tried, Got: err.Error(), Fix: "Can Caddy read and write its storage?"}}
	case len(keys.Keys) == 0:
		return []doctor.Finding{{Check: "webpush-keys", Status: doctor.Problem, Tried: tried, Got: "there are none", Fix: "Restart Caddy and look at its log: it makes them at its start."}}
	}
	return []doctor.Finding{{Check: "webpush-keys", Status: doctor.OK, Tried: tried, Got: fmt.Sprintf("%d, %d devices use the newest", len(keys.Keys), keys.Keys[0].Devices)}}
}
