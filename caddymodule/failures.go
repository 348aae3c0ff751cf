// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

// failures are the last attempts of targets that failed. A target with many
// destinations is not in it: one of them tells nothing about the others.
type failures struct {
	mu       sync.Mutex
	byTarget map[string]*adminapi.TargetFailure // nil after a success
}

// note remembers how an attempt ended.
func (f *failures) note(at *delivery.Attempt) {
	if at.Took == 0 { // nobody was asked
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.byTarget[at.Target]; !known {
		return
	}
	switch at.Result.Outcome {
	case delivery.TryAgain, delivery.Misconfigured:
		failure := &adminapi.TargetFailure{Time: time.Now().UTC(), Reason: at.Result.Reason}
		if at.Result.Err != nil {
			failure.Error = at.Result.Err.Error()
		}
		f.byTarget[at.Target] = failure
	default: // it answered
		f.byTarget[at.Target] = nil
	}
}

// last is how the last attempt at a target failed; nil if it did not.
func (f *failures) last(target string) *adminapi.TargetFailure {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byTarget[target]
}

// newFailures is for the targets of an engine.
func newFailures(targets []target.Target) *failures {
	f := &failures{byTarget: make(map[string]*adminapi.TargetFailure)}
	for _, t := range targets {
		if t.Destinations == nil {
			f.byTarget[t.Name] = nil
		}
	}
	return f
}
