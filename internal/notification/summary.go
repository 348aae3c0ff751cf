// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import "time"

// MaxSummaryNames bounds the names in a [Summary].
const MaxSummaryNames = 2

// Summary says what a device was not notified of while it was quiet or muted, as
// devices get it, in JSON.
type Summary struct {
	// Type is always "Summary".
	Type string `json:"@type"`
	// ID is the same on every attempt.
	ID string `json:"id"`
	// Count is how many mails there are. 0 says that only Unseen is news: mails
	// were read elsewhere.
	Count int `json:"count"`
	// More is whether there are more than Count.
	More bool `json:"more,omitempty"`
	// From are the names of at most [MaxSummaryNames] senders, the newest first,
	// and Others is how many there are beside them.
	From   []string `json:"from,omitempty"`
	Others int      `json:"others,omitempty"`
	// Unseen is the number of unseen messages of the INBOX, nil if it is not known.
	Unseen *uint32 `json:"unseen,omitempty"`
	// Time is that of this message, with a precision of one second.
	Time time.Time `json:"time"`
}
