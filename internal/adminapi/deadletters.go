// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi

import (
	"encoding/json"
	"time"
)

// DeadLetters is what GET /dovecot_push/dead_letters answers.
type DeadLetters struct {
	DeadLetters []DeadLetter `json:"dead_letters"`
	// If there are more: the value of from for the next page.
	Next uint64 `json:"next,omitempty"`
}

// DeadLetter is a notification that a target gave up on.
type DeadLetter struct {
	Number   uint64    `json:"number"`
	ID       string    `json:"id"`
	Target   string    `json:"target"`
	Reason   string    `json:"reason"`
	Attempts int       `json:"attempts"`
	Accepted time.Time `json:"accepted"`
	Buried   time.Time `json:"buried"`
	// catch_up for a mail that Dovecot could not report, else empty.
	Source string `json:"source,omitempty"`
	// What Dovecot sent, only if it was asked for.
	Body json.RawMessage `json:"body,omitempty"`
}

// Changed is how many dead letters were replayed or deleted yet, and how many
// could not be: a line of the answer to POST dead_letters/replay and DELETE
// dead_letters. The last line is the result.
type Changed struct {
	Done   int `json:"done"`
	Failed int `json:"failed"`
	// The first failure.
	Error string `json:"error,omitempty"`
}

// Add counts one.
func (c *Changed) Add(err error) {
	if err == nil {
		c.Done++
		return
	}
	if c.Failed++; c.Error == "" {
		c.Error = err.Error()
	}
}
