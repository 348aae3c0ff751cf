// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi

import "time"

// CatchUpStatus is the state of the catch-up, which finds mails that Dovecot
// could not report.
type CatchUpStatus struct {
	// Why nothing is found; the rest is empty then.
	Off string `json:"off,omitempty"`
	// Whether this Caddy sweeps, or another one that shares the queue.
	Leads bool `json:"leads"`
	// doveadm or imap.
	Via string `json:"via,omitempty"`
	// When the last sweep over all users ended that could be ended.
	Last *time.Time `json:"last,omitempty"`
	// The sweep over all users that runs, or the last one.
	Sweep *CatchUpSweep `json:"sweep,omitempty"`
	// Why the last one could not be ended.
	Error string `json:"error,omitempty"`
}

// CatchUpRequest is the body of POST /dovecot_push/catch_up: the users to look
// at, or all of them. The answer is a [CatchUpSweep] per line while it goes on,
// the last one when it has ended.
type CatchUpRequest struct {
	Users []string `json:"users,omitempty"`
	All   bool     `json:"all,omitempty"`
}

// CatchUpUser is the state of one user: GET /dovecot_push/catch_up?user=….
type CatchUpUser struct {
	User string `json:"user"`
	// When a notification of the user was accepted last that Dovecot reported,
	// and one that was found.
	Reported *time.Time `json:"reported,omitempty"`
	Found    *time.Time `json:"found,omitempty"`
	// How many mails were not reported and not looked at yet, at most.
	Missing uint64 `json:"missing"`
}

// CatchUpSweep is one look at the mailboxes of users.
type CatchUpSweep struct {
	// Why it began: start, interval, retry, mail_server_back, queue_writable,
	// let_in_again, registered or command.
	Trigger string    `json:"trigger"`
	Started time.Time `json:"started"`
	// Zero while it runs.
	Ended time.Time `json:"ended,omitzero"`
	// How many users there are to look at, how many were, how many of them had
	// mails that Dovecot did not report, how many of these are still to be
	// served, and how many could not be looked at.
	Users   int `json:"users"`
	Done    int `json:"done"`
	Behind  int `json:"behind"`
	Waiting int `json:"waiting"`
	Failed  int `json:"failed"`
	// How many notifications were accepted, and how many mails are not told, by
	// reason.
	Found   int            `json:"found"`
	LeftOut map[string]int `json:"left_out,omitempty"`
	// When the oldest of what was found was delivered.
	Oldest time.Time `json:"oldest,omitzero"`
	// Why it ended early.
	Error string `json:"error,omitempty"`
}
