// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/printable"
)

// What the sender of a mail or the owner of a device chose neither controls the
// terminal of an operator nor shows something else than it is.
func TestCommandsPrintNothingUnsafe(t *testing.T) {
	const hostile = "\u009b2J\u202egpj.exe\u2066\u2028\U000e0041"
	letters, err := json.Marshal(DeadLetters{DeadLetters: []DeadLetter{{
		Target: "t", Reason: "refused", Body: json.RawMessage(`{"from":"` + hostile + `"}`),
	}}})
	require.NoError(t, err)
	devices, err := json.Marshal(Subscriptions{User: "u" + hostile, Subscriptions: []Subscription{{ID: "x", Name: hostile}}})
	require.NoError(t, err)
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/dead_letters"):
			_, _ = w.Write(letters)
		case strings.HasSuffix(r.URL.Path, "/subscriptions"):
			_, _ = w.Write(devices)
		default:
			w.WriteHeader(http.StatusNotFound)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": hostile})
		}
	}))
	defer admin.Close()
	for _, args := range [][]string{
		{"dead-letters", "--content"},
		{"dead-letters", "--content", "--json"},
		{"subscriptions", "u"},
		{"subscriptions", "u", "--json"},
		{"subscriptions", "u", "--delete", "x"},
	} {
		var out bytes.Buffer
		root := &cobra.Command{Use: "dovecot-push", SilenceErrors: true}
		flags := root.PersistentFlags()
		flags.String("address", strings.TrimPrefix(admin.URL, "http://"), "")
		flags.String("config", "", "")
		flags.String("adapter", "", "")
		flags.Bool("json", false, "")
		root.AddCommand(deadLettersCommand(), subscriptionsCommand())
		root.SetOut(&out)
		root.SetArgs(args)
		if err := root.Execute(); err != nil {
			out.WriteString(err.Error())
		}
		shown := strings.ReplaceAll(out.String(), "\n", "")
		assert.False(t, strings.ContainsFunc(shown, printable.Unsafe), "%v: %+q", args, shown)
		assert.Contains(t, shown, `\u202e`, args)
	}
}
