// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestResultOfStatus looks at every code there is.
func TestResultOfStatus(t *testing.T) {
	now := time.Now()
	header := http.Header{"Retry-After": {"7"}}
	misconfigured := []int{401, 403, 404, 405, 407}
	tryAgain := []int{408, 425, 429}
	for status := 100; status <= 599; status++ {
		want := Result{Reason: "status_" + strconv.Itoa(status)}
		switch {
		case status/100 == 2:
			want = Result{Outcome: Delivered}
		case status/100 == 5 || slices.Contains(tryAgain, status):
			want.Outcome, want.After = TryAgain, 7*time.Second
			if status == 503 {
				want.Fault = FaultOfService
			}
		case status/100 == 1 || status/100 == 3 || slices.Contains(misconfigured, status):
			want.Outcome = Misconfigured
		default:
			want.Outcome = Refused
		}
		require.Equal(t, want, ResultOfStatus(status, header, now), status)
	}
	for _, status := range []int{math.MinInt, -200, 0, 1, 99, 600, 999, math.MaxInt} {
		require.Equal(t, Result{Reason: "status_invalid"}, ResultOfStatus(status, header, now), status)
	}
	require.Zero(t, ResultOfStatus(503, nil, now).After)
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 23, 16, 16, 18, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                               0,
		"0":                              0,
		"1":                              time.Second,
		"120":                            2 * time.Minute,
		"2147483647":                     math.MaxInt32 * time.Second,
		"2147483648":                     0, // more than the field can mean
		"99999999999999999999":           0,
		"-1":                             0,
		"+1":                             0,
		"1.5":                            0,
		" 1":                             0,
		"1s":                             0,
		"soon":                           0,
		"Mon, 23 Nov 2026 16:16:28 GMT":  10 * time.Second,
		"Monday, 23-Nov-26 16:17:18 GMT": time.Minute,
		"Mon Nov 23 16:16:19 2026":       time.Second,
		"Mon, 23 Nov 2026 16:16:18 GMT":  0,
		"Mon, 23 Nov 2020 16:16:28 GMT":  0, // over
		"Mon, 23 Nov 2026 16:16:28 CET":  0,
		"2026-11-23T16:16:28Z":           0,
	} {
		require.Equal(t, want, retryAfter(value, now), "%q", value)
	}
}

func TestOutcomeWords(t *testing.T) {
	for outcome, want := range map[Outcome]string{
		TryAgain: "try_again", Delivered: "delivered", Refused: "refused", Misconfigured: "misconfigured", 99: "try_again",
	} {
		require.Equal(t, want, outcome.String())
	}
	require.Equal(t, TryAgain, Result{}.Outcome, "what nobody judged is tried again")
}
