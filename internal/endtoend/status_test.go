// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The command asks the running Caddy, for people and for programs.
func TestStatusCommand(t *testing.T) {
	t.Parallel()
	f := newFront(t, freeAddress(t)) // nobody is there
	out, err := f.Command("dovecot-push", "status", "--address", f.Admin)
	require.Error(t, err)
	assert.Contains(t, out, "cannot reach the admin API of Caddy")

	f.start(t)
	out, err = f.Command("dovecot-push", "status", "--address", f.Admin)
	require.NoError(t, err, out)
	assert.Contains(t, out, "takes notifications")

	taken(t, f.http, notification(1))
	require.Eventually(t, func() bool {
		out, err := f.Command("dovecot-push", "status", "--json", "--address", f.Admin)
		require.NoError(t, err, out)
		var status struct {
			Queue   struct{ Up bool }
			Targets []struct {
				Name   string
				Parked int
			}
		}
		require.NoError(t, json.Unmarshal([]byte(out), &status), out)
		return status.Queue.Up && len(status.Targets) == 1 && status.Targets[0].Name == "middleware" && status.Targets[0].Parked == 1
	}, waitTimeout, 100*time.Millisecond)
}
