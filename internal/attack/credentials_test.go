// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

// slowCost is a cost of bcrypt with which a hash takes longer than the second
// in which a source gets another attempt.
func slowCost(t *testing.T) int {
	t.Helper()
	for cost := bcrypt.MinCost; ; cost++ {
		start := time.Now()
		_, err := bcrypt.GenerateFromPassword([]byte("x"), cost)
		require.NoError(t, err)
		if time.Since(start) > 1500*time.Millisecond {
			return cost
		}
	}
}

// A flood of wrong passwords, whose senders do not wait for the answer, locks
// Dovecot out neither while it lasts nor afterwards, leaves no request waiting,
// and does not hold up the end of the process. What was right is known after a
// reload, whatever floods then.
func TestWrongPasswordsLockNobodyOut(t *testing.T) {
	t.Parallel()
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), slowCost(t))
	require.NoError(t, err)
	address := freeAddress(t)
	config := func(more string) string {
		return fmt.Sprintf(`{
	dovecot_push
}
http://%s {
	dovecot_push_notify {
		allow private_ranges
		credentials dovecot %s
		%s
	}
}
`, address, hash, more)
	}
	c := caddytestkit.Start(t, config(""), "GOMAXPROCS=1")
	url := "http://" + address + notifyPath
	mailServer := clientFrom(t, "127.0.0.3", patience)
	try := func(uid int) answer {
		for {
			// Without an answer Dovecot tries again, too: a reload may close
			// an idle connection just when a request is on its way. A disk that
			// is too slow for the queue is not what is tried here.
			got := do(mailServer, http.MethodPut, url, notification("somebody", uid), basic("dovecot", "right"))
			diskIsSlow := got.status == http.StatusServiceUnavailable && !strings.Contains(got.body, "credentials")
			if got.status != 0 && !diskIsSlow {
				return got
			}
		}
	}
	impatient := clientFrom(t, "127.0.0.2", 400*time.Millisecond)
	flood := func() {
		attackers(20, max(*lasts, 3*time.Second), func(n, i int) {
			body := notification("somebody", i) + strings.Repeat(" ", 4096)
			do(impatient, http.MethodPut, url, body, basic("dovecot", fmt.Sprint(n, " ", i)))
		})
	}
	flood()
	first := 0
	require.Eventually(t, func() bool {
		first++
		start := time.Now()
		got := try(first)
		if got.status != http.StatusOK {
			assert.Equal(t, http.StatusServiceUnavailable, got.status)
			assert.Equal(t, "1", got.header.Get("Retry-After"))
		}
		t.Logf("attempt %d: %d after %v", first, got.status, time.Since(start))
		return got.status == http.StatusOK
	}, patience, 100*time.Millisecond, "the right password is let in")

	require.NoError(t, c.Reload(config("max_body 100000")))
	done := make(chan struct{})
	go func() { defer close(done); flood() }()
	for uid := first + 1; uid < first+20; uid++ {
		got := try(uid)
		require.Equal(t, http.StatusOK, got.status, "it is known over a reload: %s", got.body)
	}
	<-done
	require.Eventually(t, func() bool { return goroutines(t, c, "credentials.(*Verifier).Verify") == 0 }, patience, 100*time.Millisecond)

	// Waits end with the process.
	go flood()
	require.Eventually(t, func() bool { return goroutines(t, c, "credentials.(*Verifier).Verify") > 0 }, patience, 10*time.Millisecond)
	start := time.Now()
	c.Stop()
	assert.Less(t, time.Since(start), 20*time.Second)
}
