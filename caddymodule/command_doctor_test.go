// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
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

// The keys of Web Push are asked for where it is a target, and nowhere else.
func TestExamineKeys(t *testing.T) {
	answer := `{"keys":[{"public_key":"key","devices":3}]}`
	var asked []string
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		_, _ = io.WriteString(w, answer)
	}))
	defer admin.Close()
	c := &client{address: strings.TrimPrefix(admin.URL, "http://")}
	assert.Empty(t, c.examineKeys(&Status{Targets: []TargetStatus{{Name: "middleware"}}}))
	assert.Empty(t, asked)

	push := &Status{Targets: []TargetStatus{{Name: "middleware"}, {Name: "webpush"}}}
	found := c.examineKeys(push)
	assert.Equal(t, []string{"/dovecot_push/vapid"}, asked)
	if assert.Len(t, found, 1) {
		assert.Equal(t, doctor.OK, found[0].Status)
		assert.Equal(t, "1, 3 devices use the newest", found[0].Got)
	}
	answer = `{"keys":[]}`
	if found = c.examineKeys(push); assert.Len(t, found, 1) {
		assert.Equal(t, doctor.Problem, found[0].Status)
	}
}
