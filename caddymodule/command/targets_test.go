// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTargetsDrop(t *testing.T) {
	admin := newAdmin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("name") == "middleware" {
			refuse(w, http.StatusConflict, "it is configured")
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	_, err := admin.run("targets", "drop")
	require.ErrorContains(t, err, "requires at least 1 arg")
	out, err := admin.run("targets", "drop", "old", "older & oldest", "middleware", "never")
	require.EqualError(t, err, "it is configured")
	assert.Equal(t, "old dropped\nolder & oldest dropped\n", out)
	assert.Equal(t, []string{
		"DELETE targets?name=old", "DELETE targets?name=older+%26+oldest", "DELETE targets?name=middleware",
	}, admin.asked)
	out, err = admin.run("targets", "drop", "old", "--json")
	require.NoError(t, err)
	assert.JSONEq(t, `{"dropped":["old"]}`, out)
}
