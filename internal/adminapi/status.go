// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi

import "time"

// Status is what GET /dovecot_push/status answers: how the running app is.
type Status struct {
	// What the running Caddy was built from.
	Version Version `json:"version"`
	// When the process started: the counts begin there.
	Since time.Time `json:"since"`
	// The process, by a random word: two that answer at one address are told
	// apart by it.
	Instance string `json:"instance"`
	// The notify endpoints.
	Endpoints []EndpointStatus `json:"endpoints"`
	// The requests to them, by result.
	Requests map[string]uint64 `json:"requests"`
	// Requests that were refused because of where they came from, by reason.
	Refused map[string]uint64 `json:"refused"`
	Queue   QueueStatus       `json:"queue"`
	Targets []TargetStatus    `json:"targets"`
	// The endpoints of the DoveAdm connector.
	DoveAdm []DoveAdmStatus `json:"doveadm,omitempty"`
	// Nothing where users are not registered from here.
	Registration *RegistrationStatus `json:"registration,omitempty"`
	// Nothing where there is no way to look at mailboxes.
	CatchUp *CatchUpStatus `json:"catch_up,omitempty"`
	// Nothing without Web Push.
	Devices *DevicesStatus `json:"devices,omitempty"`
	// How many event streams are open. Nothing without an API.
	Streams *int `json:"streams,omitempty"`
	// What is kept of sessions that were signed out. Nothing without an API.
	SignedOut *SignedOutStatus `json:"signed_out,omitempty"`
}

// SignedOutStatus is what is kept of sessions that were signed out, until their
// cookies would have expired. A user has 33 entries at most.
type SignedOutStatus struct {
	Entries int `json:"entries"`
	Users   int `json:"users"`
}

// DevicesStatus is how many devices are subscribed.
type DevicesStatus struct {
	Confirmed   int `json:"confirmed"`
	Unconfirmed int `json:"unconfirmed"`
}

// DefaultPath is where Open-Xchange, and so every Dovecot configured for it, has
// the notify endpoint.
const DefaultPath = "/preliminary/http-notify/v1/notify"

// EndpointStatus is one notify endpoint.
type EndpointStatus struct {
	// Where its server listens.
	Listen []string `json:"listen"`
	Path   string   `json:"path"`
	// Whether nobody is allowed, because no network is allowed; or everybody
	// on the Internet, because all are.
	Nobody    bool `json:"nobody"`
	Everybody bool `json:"everybody"`
	// Whether it asks for credentials, a client certificate, or nothing.
	Credentials       bool   `json:"credentials"`
	ClientCertificate string `json:"client_certificate,omitempty"`
}

// QueueStatus is the state of the queue.
type QueueStatus struct {
	// Whether notifications can be stored.
	Up bool `json:"up"`
	// Why not.
	Error string `json:"error,omitempty"`
	// Notifications that some target still has to get, and what they take in
	// the store, of how much they may take.
	Notifications uint64 `json:"notifications"`
	Bytes         uint64 `json:"bytes"`
	MaxBytes      int64  `json:"max_bytes"`
	// What the disk has left, where the queue is on one of this machine.
	DiskFree *uint64 `json:"disk_free,omitempty"`
	// When the oldest of them was accepted.
	Oldest *time.Time `json:"oldest,omitempty"`
	// What 200 means: disk, replicas, memory or unknown; empty before it was
	// found out. And how it was found.
	Durability       string `json:"durability,omitempty"`
	DurabilityReason string `json:"durability_reason,omitempty"`
	// What an operator should change at the NATS servers.
	Problems []string `json:"problems,omitempty"`
	// What is kept for targets that are no longer configured.
	Removed []RemovedTarget `json:"removed,omitempty"`
}

// RemovedTarget is what is kept for a target that is no longer configured.
type RemovedTarget struct {
	Name string `json:"name"`
	// Notifications not attempted yet, and waiting for another attempt.
	Waiting uint64 `json:"waiting"`
	Parked  uint64 `json:"parked"`
	// How long they are kept at most. Nothing in the first minute or so.
	Until *time.Time `json:"until,omitempty"`
}

// TargetStatus is the state of one target.
type TargetStatus struct {
	Name string `json:"name"`
	// Whether the target takes notifications, or counts as down.
	Up bool `json:"up"`
	// Why the last attempt failed, if it did. Nothing of a target with many
	// devices, of which one tells nothing about the others.
	LastFailure *TargetFailure `json:"last_failure,omitempty"`
	// Notifications not attempted yet, waiting for another attempt, and given
	// up.
	Waiting     uint64 `json:"waiting"`
	Parked      uint64 `json:"parked"`
	DeadLetters uint64 `json:"dead_letters"`
	// Attempts under way.
	InFlight int `json:"in_flight"`
	// Attempts since the process started, by outcome.
	Attempts map[string]uint64 `json:"attempts"`
	// When the oldest notification that is being worked on was accepted.
	Oldest *time.Time `json:"oldest,omitempty"`
	// Of the delivered ones, those that Open-Xchange drops, because Dovecot
	// reported a user that is not <user id>@<context id>.
	UnknownUsers uint64 `json:"unknown_users,omitempty"`
}

// TargetFailure is an attempt that failed.
type TargetFailure struct {
	Time time.Time `json:"time"`
	// In a word, as in the metrics, and in a sentence.
	Reason string `json:"reason"`
	Error  string `json:"error,omitempty"`
}

// DoveAdmStatus is one endpoint of the DoveAdm HTTP API.
type DoveAdmStatus struct {
	// Host and port.
	Endpoint string `json:"endpoint"`
	// Whether commands go to it, and if not, why, and since when.
	Up    bool       `json:"up"`
	Error string     `json:"error,omitempty"`
	Since *time.Time `json:"since,omitempty"`
}
