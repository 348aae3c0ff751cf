// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A long pass logs its progress, and nothing more once it has ended.
func TestLogOfALongPass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		r := &Reconciler{cfg: Config{Logger: slog.New(slog.NewTextHandler(&log, nil))}}
		p := r.newProgress(3)
		ended := make(chan struct{})
		go r.logProgress(p, ended)
		for range 2 {
			p.note("", record{State: Registered}, nil)
			r.registered.Add(1)
			time.Sleep(progressInterval)
			synctest.Wait()
		}
		close(ended)
		time.Sleep(2 * progressInterval)
		synctest.Wait()
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if assert.Len(t, lines, 2) {
			assert.Contains(t, lines[0], `msg="checking registrations" users=3 done=1 registered=1 unregistered=0`)
			assert.Contains(t, lines[1], "done=2 registered=2")
		}
	})
}
