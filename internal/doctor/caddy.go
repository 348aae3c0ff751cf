// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

const (
	// lowDisk is the free space below which the disk of the queue counts as nearly full.
	lowDisk = 256 << 20
	// oldWait is the age from which a waiting notification is reported.
	oldWait = 5 * time.Minute
)

// Admin is the admin API of a running Caddy.
type Admin struct {
	// Address of it, to be shown.
	Address string
	// Ask sends a request without a body and reads the answer, which is JSON.
	Ask func(method, path string, answer any) error
}

const api = "/dovecot_push/"

// Caddy checks the running Caddy: its status, everything that it connects to,
// its configuration, and one user if one is named. status is nil if Caddy does
// not answer.
func Caddy(a Admin, user string) (findings []Finding, status *adminapi.Status) {
	c := &caddy{Admin: a, status: new(adminapi.Status)}
	tried := "the admin API at " + a.Address
	if err := a.Ask(http.MethodGet, api+"status", c.status); err != nil {
		fix := "Start Caddy with the global option dovecot_push, or give the address of its admin API with --address."
		if strings.Contains(err.Error(), adminapi.Starting) {
			fix = "Wait a moment, then run this again. Caddy's log says what it waits for."
		}
		c.problem("caddy", tried, err.Error(), fix)
		return c.findings, nil
	}
	c.ok("caddy", tried, "dovecot_push runs")
	c.endpoints()
	c.routes()
	c.probes()
	c.queue()
	c.keys()
	if user != "" {
		c.user(user)
	}
	return c.findings, c.status
}

// WantedBy returns what Dovecot should be configured for.
func WantedBy(s *adminapi.Status) (want Wanted) {
	if len(s.Endpoints) > 0 {
		want.Path = s.Endpoints[0].Path
	}
	if r := s.Registration; r != nil {
		want.DoveAdm, want.IMAP = r.Via == "doveadm", r.Via == "imap"
		want.AllUsers = r.Users == "all"
	}
	want.Logins = s.Streams != nil && len(s.DoveAdm) == 0
	return want
}

type caddy struct {
	Admin
	report
	status *adminapi.Status
}

func (c *caddy) endpoints() {
	if len(c.status.Endpoints) == 0 {
		c.problem("endpoint-configured", "the configuration of Caddy", "no site has dovecot_push_notify",
			"Add dovecot_push_notify to a site of the Caddyfile.")
	}
}

// guard checks what the endpoints answered to strangers.
func (c *caddy) guard(p adminapi.Probe) {
	const check, fix = "guard", "Write the addresses of your mail servers into allow."
	tried := "the endpoint " + p.Name + ": " + p.Asked
	i := slices.IndexFunc(c.status.Endpoints, func(e adminapi.EndpointStatus) bool { return e.Path == p.Name })
	switch {
	case p.OK && i >= 0 && c.status.Endpoints[i].Nobody:
		c.problem(check, tried, "nobody is allowed: allow is empty", fix)
	case p.OK:
		c.ok(check, tried, p.Answered)
	case i >= 0 && (c.status.Endpoints[i].Credentials || c.status.Endpoints[i].ClientCertificate != ""):
		c.warning(check, tried, p.Answered, fix)
	default:
		c.problem(check, tried, p.Answered+", and nothing is asked for", "Write the addresses of your mail servers into allow, and add credentials.")
	}
}

// routes checks the configuration that Caddy runs with.
func (c *caddy) routes() {
	var config json.RawMessage
	err := c.Ask(http.MethodGet, "/config/apps/http", &config)
	var found []Finding
	if err == nil {
		found, err = Routes(config)
	}
	if err != nil {
		c.add("guard-routes", Skipped, "the configuration of Caddy", err.Error(), "")
	}
	c.findings = append(c.findings, found...)
}

// probes lets Caddy try everything that it connects to.
func (c *caddy) probes() {
	var probes []adminapi.Probe
	if err := c.Ask(http.MethodPost, api+"probe", &probes); err != nil {
		c.problem("probe", "what Caddy works with", err.Error(), "Look at the log of Caddy.")
		return
	}
	if len(c.status.Targets) == 0 && c.status.Queue.Up { // they are not known before the queue is open
		c.problem("targets", "the configuration of Caddy", "there is no target: notifications go nowhere", "Add a deliver block to dovecot_push.")
	}
	for _, p := range probes {
		switch p.Kind {
		case "queue":
			c.probed("queue", p.Asked, p, "Look at the log of Caddy: is the disk full or read-only, or the NATS cluster away?")
		case "guard":
			c.guard(p)
		case "registration":
			c.registration(p, slices.ContainsFunc(probes, func(other adminapi.Probe) bool {
				return other.Kind == p.Name && !other.OK && !other.Skipped
			}))
		case "contact":
			c.probed("webpush-contact", p.Asked, p, "Give deliver webpush a contact that exists, such as mailto:postmaster@ and your domain.")
		case "doveadm":
			c.probed("doveadm", "DoveAdm endpoint "+p.Name+": "+p.Asked, p, doveAdmFixes[p.Reason])
		case "imap":
			c.probed("imap", p.Name+": "+p.Asked, p, "Does Dovecot run, does its service imap-login listen there, and does Caddy trust its certificate (ca_file)?")
		case "users":
			c.probed("users", p.Name+": "+p.Asked, p, "With register all Dovecot must list its users: give it a userdb that can iterate, or use register on_subscribe.")
		case "target":
			c.target(p)
		case "key":
			c.key(p)
		}
	}
}

// doveAdmFixes are the remedies by the reason why an endpoint of DoveAdm fails.
var doveAdmFixes = map[string]string{ //nolint:gosec // advice, no credentials
	"bad_secret":   "Set api_secret to Dovecot's doveadm_api_key, or basic_auth to the user doveadm and its doveadm_password.",
	"not_served":   "The URL must be that of Dovecot's DoveAdm listener, and end in /doveadm/v1.",
	"server_error": "Set doveadm_api_key or doveadm_password in Dovecot; its log says more.",
	"unexpected":   "Something else answers there: give the address of Dovecot's inet_listener http of service doveadm.",
	"timeout":      "Look at Dovecot's log for what holds it up.",
	"closed":       "Dovecot's log says why it closes the connection: is allow_nets or ssl in the way?",
	"unreachable":  "Does Dovecot run, does its service doveadm listen there, and does a firewall let Caddy through?",
}

// probed adds what a probe found.
func (c *caddy) probed(check, tried string, p adminapi.Probe, fix string) {
	switch {
	case p.Skipped:
		c.add(check, Skipped, tried, p.Answered, "")
	case p.OK:
		c.ok(check, tried, p.Answered)
	default:
		c.problem(check, tried, p.Answered, cmp.Or(fix, "Look at the logs of Caddy and Dovecot."))
	}
}

// target judges one target by the answer of now, and its last attempt.
func (c *caddy) target(p adminapi.Probe) {
	const check = "targets"
	i := slices.IndexFunc(c.status.Targets, func(t adminapi.TargetStatus) bool { return t.Name == p.Name })
	if i < 0 {
		return
	}
	t := c.status.Targets[i]
	tried := "target " + p.Name + ": " + p.Asked
	last := ""
	if f := t.LastFailure; f != nil {
		last = fmt.Sprintf("its last attempt, %s ago, failed: %s", max(time.Since(f.Time), 0).Round(time.Second), cmp.Or(f.Error, f.Reason))
	}
	switch {
	case !p.OK && !p.Skipped:
		c.problem(check, tried, fmt.Sprintf("%s; %d wait for it", p.Answered, t.Waiting+t.Parked), targetFix(p.Reason))
	case !t.Up && p.Skipped:
		c.problem(check, tried, fmt.Sprintf("it is down; %d wait for it; %s", t.Waiting+t.Parked, last), "Look at the log of Caddy.")
	case !t.Up:
		c.warning(check, tried, "it answers now, and is left alone for a moment yet: "+last, "Wait half a minute; then see whether it is up: caddy dovecot-push status")
	case last != "":
		c.warning(check, tried, cmp.Or(p.Answered, "not asked")+", but "+last, "It is attempted again. If that goes on, look at the receiver's log.")
	case t.Oldest != nil && time.Since(*t.Oldest) > oldWait:
		c.warning(check, tried, "the oldest notification waits for "+time.Since(*t.Oldest).Round(time.Second).String(), "Is it slow? Look at delivery_duration_seconds.")
	default:
		c.probed(check, tried, p, "")
	}
	if t.DeadLetters > 0 {
		c.warning("dead-letters", "target "+p.Name, fmt.Sprintf("%d dead letters", t.DeadLetters), "caddy dovecot-push dead-letters shows them, replay sends them again.")
	}
}

// key judges the key of a target. What cannot be found out stops no message.
func (c *caddy) key(p adminapi.Probe) {
	const check = "keys"
	tried := "target " + p.Name + ": " + p.Asked
	if p.OK {
		c.ok(check, tried, p.Answered)
		return
	}
	c.warning(check, tried, p.Answered, "If it ends soon or is not listed, create another key where this one is from, write it into the deliver block, and reload, see docs/apps.md. If Google could not be asked, let Caddy reach the host of client_x509_cert_url.")
}

// targetFix returns the remedy for a target that fails for a reason.
func targetFix(reason string) string {
	switch reason {
	case "status_401", "status_403", "status_407":
		return "Give the credentials that the receiver knows in its deliver block: those of Dovecot are others."
	case "status_404", "status_405":
		return "Nothing takes notifications at that path: is the path right, and has the receiver started?"
	case "invalid_provider_token", "expired_provider_token", "access_token", "unauthenticated":
		return "Compare the key in the deliver block with what Apple or Google shows, and set the clock of this machine (NTP)."
	case "topic_disallowed", "bad_topic", "bad_environment_key_id", "permission_denied", "project_not_found":
		return "docs/apps.md says what the key, the app and the project must be."
	case "tls":
		return "Does the receiver talk TLS on that port, and does Caddy trust its certificate?"
	default:
		return "Does the receiver run, and does a firewall let Caddy through? Its log says more."
	}
}

// queue checks how much space is left.
func (c *caddy) queue() {
	q := c.status.Queue
	if q.Durability != "" {
		c.ok("durability", "what 200 to Dovecot means", q.Durability+": "+q.DurabilityReason)
	}
	for _, p := range q.Problems {
		c.problem("nats", "the NATS servers of the queue", p, "docs/queue.md has a configuration of the servers and of the account.")
	}
	if q.MaxBytes > 0 && q.Bytes > uint64(q.MaxBytes)*9/10 {
		c.warning("queue", "the queue", fmt.Sprintf("it holds %s of %s", humanize.IBytes(q.Bytes), humanize.IBytes(uint64(q.MaxBytes))),
			"Which target is down? When it is full, Dovecot gets 503. Raise max_bytes if the outage will last.")
	}
	if q.DiskFree != nil && *q.DiskFree < lowDisk {
		c.warning("disk", "the disk of the queue", humanize.IBytes(*q.DiskFree)+" are left", "Make room: on a full disk nothing can be stored.")
	}
}

// registration judges what Dovecot says now about a registered user, or if there is
// none, why the last attempt failed. What it uses may be a problem of its own, with
// a fix of its own.
func (c *caddy) registration(p adminapi.Probe, isCutOff bool) {
	const check, fix = "registration", "Mend that, then: caddy dovecot-push register <user>"
	tried := "registration over " + p.Name + ": " + p.Asked
	if isCutOff && !p.OK {
		c.add(check, Skipped, tried, "the problem of "+p.Name+" comes first", "")
		return
	}
	if r := c.status.Registration; p.Skipped && r != nil && !r.Up {
		c.problem(check, tried, p.Answered+"; the last attempt failed: "+r.Error, fix)
		return
	}
	c.probed(check, tried, p, fix)
}

// keys checks the keys of Web Push. It does not ask for them if Web Push is not
// configured: Caddy logs a 404 of its admin API as an error.
func (c *caddy) keys() {
	const check, tried = "webpush-keys", "the keys of Web Push"
	if !slices.ContainsFunc(c.status.Targets, func(t adminapi.TargetStatus) bool { return t.Name == "webpush" }) {
		return
	}
	var keys struct {
		Keys []struct{ Devices int }
	}
	err := c.Ask(http.MethodGet, api+"vapid", &keys)
	switch {
	case err != nil:
		c.problem(check, tried, err.Error(), "Can Caddy read and write its storage?")
	case len(keys.Keys) == 0:
		c.problem(check, tried, "there are none", "Restart Caddy and look at its log: it makes them at its start.")
	default:
		c.ok(check, tried, fmt.Sprintf("%d, %d devices use the newest", len(keys.Keys), keys.Keys[0].Devices))
	}
}

// user checks the METADATA entry that Dovecot has for a user now.
func (c *caddy) user(user string) {
	const check, tried = "registered", "the METADATA entry of the user"
	if c.status.Registration == nil {
		c.add(check, Skipped, tried, "nobody registers users here",
			"Configure doveadm or imap in dovecot_push, or look with doveadm: doveadm mailbox metadata get -u <user> -s \"\" /private/vendor/vendor.dovecot/http-notify")
		return
	}
	var reg struct {
		State, Reason, Error string
		Value                *string
	}
	err := c.Ask(http.MethodGet, api+"registrations?"+url.Values{"user": {user}}.Encode(), &reg)
	switch {
	case err != nil:
		c.problem(check, tried, err.Error(), "Does Dovecot know the user by this name?")
	case reg.Value == nil && reg.Error != "":
		c.problem(check, tried, "it could not be read: "+reg.Error, "Mend that first: whether there is an entry is not known.")
	case reg.Value == nil && reg.Reason == "needs_login":
		c.add(check, Skipped, tried, "without a master user it can be read with the user's own login only", "Let the user sign in, or give imap a master_user.")
	case reg.Value == nil:
		c.problem(check, tried, "Dovecot knows no user of this name", "Use the name that \"doveadm user\" finds.")
	case *reg.Value == "":
		c.problem(check, tried, "there is none ("+reg.State+"): Dovecot reports nothing for them",
			"caddy dovecot-push register <user>, or let the user subscribe a device.")
	case !strings.Contains("\t"+*reg.Value, "\tuser="):
		c.problem(check, tried, "it has no user=…: Dovecot reports nothing for them", "caddy dovecot-push register --takeover <user>")
	default:
		c.ok(check, tried, fmt.Sprintf("%q", *reg.Value))
		c.reported(user)
	}
}

// reported checks whether Dovecot reports the mails of a registered user.
func (c *caddy) reported(user string) {
	const check, tried = "reported", "who told of the user's last mail"
	if c.status.CatchUp == nil || c.status.CatchUp.Off != "" {
		c.add(check, Skipped, tried, "there is no catch-up that would know", "See docs/catch-up.md.")
		return
	}
	var mails adminapi.CatchUpUser
	err := c.Ask(http.MethodGet, api+"catch_up?"+url.Values{"user": {user}}.Encode(), &mails)
	switch {
	case err != nil:
		c.add(check, Skipped, tried, err.Error(), "Mend that first, or ask the Caddy that catches up.")
	case mails.Found != nil && (mails.Reported == nil || mails.Found.After(*mails.Reported)):
		c.problem(check, tried, "Dovecot did not report it: the catch-up found it, "+mails.Found.Local().Format(time.DateTime), c.whyUnreported())
	case mails.Missing > 0:
		c.warning(check, tried, fmt.Sprintf("%d mails in INBOX have not been reported yet", mails.Missing),
			"Dovecot may be about to; else the next sweep looks at them: caddy dovecot-push catch-up <user>")
	case mails.Reported == nil:
		c.ok(check, tried, "no mail has come yet")
	default:
		c.ok(check, tried, "Dovecot reported it, "+mails.Reported.Local().Format(time.DateTime))
	}
}

// whyUnreported returns the likely reason why Dovecot reports nothing of a
// registered user.
func (c *caddy) whyUnreported() string {
	refused := uint64(0)
	for _, n := range c.status.Refused {
		refused += n
	}
	switch {
	case c.status.Requests["unauthorized"]+c.status.Requests["throttled"] > 0:
		return "Some mail server shows wrong credentials: compare the URL of its ox driver with credentials of dovecot_push_notify."
	case refused > 0:
		return "The guard refused some mail server: is its address in allow?"
	case c.status.Requests["queue_full"]+c.status.Requests["queue_unavailable"] > 0:
		return "The queue could not store for a while, which is over if other mails are reported."
	case c.status.Requests["accepted"] == 0:
		return "Nothing was reported since Caddy started: can the mail server reach the endpoint, and is the URL of its ox driver right?"
	default:
		return "Other mails are reported: does the mail server that delivers for this user reach the endpoint, and does it load notify and push_notification for the way this mail came (LMTP, LDA)?"
	}
}
