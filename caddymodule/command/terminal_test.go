// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/printable"
)

// What the sender of a mail or the owner of a device chose neither controls the
// terminal of an operator nor shows something else than it is.
func TestCommandsPrintNothingUnsafe(t *testing.T) {
	const hostile = "\u009b2J\u202egpj.exe\u2066\u2028\U000e0041"
	letters, err := json.Marshal(adminapi.DeadLetters{DeadLetters: []adminapi.DeadLetter{{
		Target: "t", Reason: "refused", Body: json.RawMessage(`{"from":"` + hostile + `"}`),
	}}})
	require.NoError(t, err)
	devices, err := json.Marshal(adminapi.Subscriptions{User: "u" + hostile, Subscriptions: []adminapi.Subscription{{ID: "x", Name: hostile}}})
	require.NoError(t, err)
	admin := newAdmin(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/dead_letters"):
			_, _ = w.Write(letters)
		case strings.HasSuffix(r.URL.Path, "/subscriptions"):
			_, _ = w.Write(devices)
		default:
			refuse(w, http.StatusNotFound, hostile)
		}
	})
	for _, args := range [][]string{
		{"dead-letters", "--content"},
		{"dead-letters", "--content", "--json"},
		{"subscriptions", "u"},
		{"subscriptions", "u", "--json"},
		{"subscriptions", "u", "--delete", "x"},
	} {
		out, err := admin.run(args...)
		if err != nil {
			out += err.Error()
		}
		shown := strings.ReplaceAll(out, "\n", "")
		assert.False(t, strings.ContainsFunc(shown, printable.Unsafe), "%v: %+q", args, shown)
		assert.Contains(t, shown, `\u202e`, args)
	}
}
