// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dovecotpush/caddy-dovecot-push/internal/doctor"
)

// Which targets there are is not known before the queue is open: then that is
// the one problem that is named.
func TestExamineTargets(t *testing.T) {
	problems := func(s *Status) (checks []string) {
		for _, f := range examineStatus(s) {
			if f.Status == doctor.Problem {
				checks = append(checks, f.Check)
			}
		}
		return checks
	}
	assert.Equal(t, []string{"queue"}, problems(&Status{Queue: QueueStatus{Error: "the queue is not open yet"}}))
	assert.Equal(t, []string{"targets"}, problems(&Status{Queue: QueueStatus{Up: true}}))
}
