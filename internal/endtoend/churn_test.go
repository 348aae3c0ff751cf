// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

const (
	// churnUsers, churnStreams, churnDevices and churnReloads are how much comes
	// and goes in a round, the streams and devices of each user.
	churnUsers, churnStreams, churnDevices, churnReloads = 3, 5, 2, 3
	// churnGrowth is less than what a round adds to the memory if it leaves
	// something behind of a reload or of each stream, in bytes.
	churnGrowth = 64 << 10
)

// Whatever comes and goes leaves nothing behind: as many goroutines as before, and
// no memory. What has a bound grows until it is full; what is left behind makes it
// grow in every round.
func TestChurn(t *testing.T) {
	t.Parallel()
	const full, rounds = 2, 6
	c := startChurn(t)
	for range full {
		c.round()
	}
	goroutines, before, least := c.goroutines(), c.heap(), math.MaxInt
	for n := range rounds {
		c.round()
		require.Eventually(t, func() bool { return c.goroutines() <= goroutines+churnUsers }, waitTimeout, 100*time.Millisecond,
			"after round %d there are more than %d goroutines", n, goroutines)
		after := c.heap()
		t.Logf("round %d: %d KiB, %d goroutines", n, after>>10, c.goroutines())
		least, before = min(least, after-before), after
	}
	assert.Less(t, least, churnGrowth, "the least that a round added to the memory")
}

// churn is a Caddy where much is opened, added and removed.
type churn struct {
	*caddytestkit.Caddy
	t               *testing.T
	service         *pushtest.Service
	address, config string
	reloads         int
}

func startChurn(t *testing.T) *churn {
	t.Helper()
	c := &churn{t: t, service: pushtest.Start(t), address: freeAddress(t)}
	c.Caddy = caddytestkit.New(t, "NOTIFY_PASSWORD="+notifyPassword, "SSL_CERT_FILE="+c.service.CAFile(t))
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	require.NoError(t, err)
	var accounts strings.Builder
	for n := range churnUsers {
		fmt.Fprintf(&accounts, "%s %s\n", churnUser(n), hash)
	}
	c.config = strings.NewReplacer("ADDRESS", c.address, "ACCOUNTS", accounts.String(), "SERVICE", c.service.Origin).Replace(`{
	dovecot_push {
		deliver webpush {
			contact postmaster@example.com
			allow_endpoints SERVICE
		}
	}
}
http://ADDRESS {
	dovecot_push_notify {
		allow private_ranges
		credentials dovecot {env.NOTIFY_PASSWORD}
	}
	basic_auth /push/* {
		ACCOUNTS
	}
	dovecot_push_api {
		login caddy
	}
}
`)
	require.NoError(t, c.Run(c.config), c.Log())
	return c
}

func churnUser(n int) string { return fmt.Sprintf("user%d@example.com", n) }

// round opens streams, adds devices, removes everything again, and reloads.
func (c *churn) round() {
	var wg sync.WaitGroup
	for n := range churnUsers {
		wg.Go(func() {
			p := newPerson(c.t, "http://"+c.address+"/push", "").as(churnUser(n), "secret")
			defer p.client.CloseIdleConnections()
			var streams []*listener
			for range churnStreams {
				streams = append(streams, p.listen())
			}
			var devices []string
			for range churnDevices {
				_, path := p.subscribe(c.service)
				devices = append(devices, path)
			}
			for _, l := range streams {
				l.connected(1)
				l.stop()
			}
			for _, path := range devices {
				status, _ := p.call(http.MethodDelete, path, "")
				assert.Equal(c.t, http.StatusNoContent, status)
			}
		})
	}
	wg.Wait()
	for range churnReloads {
		c.reloads++
		config := strings.Replace(c.config, "dovecot_push_api {", fmt.Sprintf("header X-Reload %d\n\tdovecot_push_api {", c.reloads), 1)
		require.NoError(c.t, c.Reload(config), c.Log())
	}
}

// profile reads one of Caddy's profiles as text.
func (c *churn) profile(name string) string {
	resp, err := http.Get("http://" + c.Admin + "/debug/pprof/" + name)
	require.NoError(c.t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(c.t, err)
	return string(text)
}

func (c *churn) goroutines() (n int) {
	_, err := fmt.Sscanf(c.profile("goroutine?debug=1"), "goroutine profile: total %d", &n)
	require.NoError(c.t, err)
	return n
}

// heap is how much memory is in use, in bytes.
func (c *churn) heap() int {
	c.profile("heap?gc=1") // what is in a pool, or has a finalizer, goes with the second
	found := regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`).FindStringSubmatch(c.profile("heap?gc=1&debug=1"))
	require.NotNil(c.t, found)
	bytes, err := strconv.Atoi(found[1])
	require.NoError(c.t, err)
	return bytes
}
