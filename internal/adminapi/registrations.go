// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi

import "time"

// ReasonNeedsLogin is the reason of a user whose registration waits for their
// next sign-in. That is no failure.
const ReasonNeedsLogin = "needs_login"

// Registration is the state of a user's registration.
type Registration struct {
	// The name that Dovecot has for the user.
	User string `json:"user"`
	// One of: wanted, registered, conflict, failed, unknown_user, unregistered.
	State string `json:"state"`
	// Why the user is not registered, in a word and in a sentence.
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	// When the state began.
	Since time.Time `json:"since,omitzero"`
	// What an operator decided: registered, unregistered or nothing.
	ByHand string `json:"by_hand,omitempty"`
	// Whether the user has devices, and when the registration ends if not.
	Subscribed bool      `json:"subscribed,omitempty"`
	Until      time.Time `json:"until,omitzero"`
	// The entry as Dovecot has it, and whether it was set here. Only where one
	// user is asked for.
	Value *string `json:"value,omitempty"`
	Ours  bool    `json:"ours,omitempty"`
}

// RegistrationsChange is the body of POST registrations.
type RegistrationsChange struct {
	// register or unregister
	Action string `json:"action"`
	// The users, or all of them: those that Dovecot lists, to be registered;
	// those about whom something is known, to be unregistered.
	Users []string `json:"users,omitempty"`
	All   bool     `json:"all,omitempty"`
	// Overwrite entries that something else has set.
	Takeover bool `json:"takeover,omitempty"`
}

// RegistrationsLine is a line of the answer to it: first how many users there are, then each
// of them, and an error if it ends early.
type RegistrationsLine struct {
	Total        int           `json:"total,omitempty"`
	Registration *Registration `json:"registration,omitempty"`
	Error        string        `json:"error,omitempty"`
}

// RegistrationStatus is the state of registration as a whole.
type RegistrationStatus struct {
	// on_subscribe, all or off; and doveadm or imap.
	Users string `json:"users"`
	Via   string `json:"via"`
	// Whether users can be registered, and why not.
	Up     bool   `json:"up"`
	Reason string `json:"reason,omitempty"`
	Error  string `json:"error,omitempty"`
	// The pass over all users that runs, or the last one.
	Pass *RegistrationPass `json:"pass,omitempty"`
}

// RegistrationPass is one look at all users.
type RegistrationPass struct {
	Started time.Time `json:"started"`
	// Zero while it runs.
	Ended time.Time `json:"ended,omitzero"`
	// How many users there are to look at, and how many were.
	Users int `json:"users"`
	Done  int `json:"done"`
	// How many of them were left in each state.
	States map[string]int `json:"states"`
	// How many entries were set and removed.
	Registered   int64 `json:"registered"`
	Unregistered int64 `json:"unregistered"`
	// Why it ended early.
	Error string `json:"error,omitempty"`
}
