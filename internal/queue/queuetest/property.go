// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queuetest

import (
	"flag"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Checks sets how often each property is checked: as often as RAPID_CHECKS says, or
// else the given number of times.
func Checks(t *testing.T, checks int) {
	t.Helper()
	if os.Getenv("RAPID_CHECKS") == "" {
		require.NoError(t, flag.Set("rapid.checks", strconv.Itoa(checks)))
	}
}

// Property checks a property of real stores with values that are drawn, in
// virtual time, as often as [Checks] says. What the property opens it closes
// itself, however it ends. A failure says with which seed it comes again.
func Property(t *testing.T, checks int, property func(t *rapid.T)) {
	t.Helper()
	Checks(t, checks)
	require.NoError(t, flag.Set("rapid.steps", "60")) // of which shorter ones are frequent
	rapid.Check(t, func(rt *rapid.T) {
		var failure any // which has to leave the clock first
		InVirtualTime(t, func(*testing.T) {
			defer func() { failure = recover() }()
			property(rt)
		})
		if failure != nil {
			panic(failure)
		}
	})
}
