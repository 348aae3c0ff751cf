// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// limit is how often somebody may do something: so often at once, and one more
// each time that a while has passed.
type limit struct {
	atOnce int
	every  time.Duration // 0: no more, ever
	// try makes one of many requests, and reports whether it was let through.
	try func(p *pressing, n int) bool
}

// pressing is somebody who makes many requests at once.
type pressing struct {
	t      *testing.T
	in     *installation
	user   string
	client *http.Client
	device string // its identity
	body   string // which added it

	prepare sync.Once
	ticket  string
}

func (p *pressing) api(method, path, body string) answer {
	return p.in.api(p.client, method, path, body, basic(p.user, password))
}

// newDevice is the body that adds another device.
func (p *pressing) newDevice() string {
	device, err := p.in.push.NewDevice(p.in.serverKey)
	if err != nil {
		panic(err)
	}
	return device.JSON(map[string]any{"name": "Phone"})
}

// limits are all limiters, with the numbers of docs/api.md, docs/endpoint.md
// and docs/security.md.
var limits = map[string]limit{
	"wrong credentials of a source": {10, time.Second, func(p *pressing, n int) bool {
		return do(p.client, http.MethodPut, p.in.url+notifyPath, "{}", basic("dovecot", fmt.Sprint("wrong", n))).status == http.StatusUnauthorized
	}},
	"wrong logins of a source": {10, 2 * time.Second, func(p *pressing, n int) bool {
		got, _ := p.in.signIn(p.client, fmt.Sprintf("nobody%d@example.com", n), "wrong")
		return got.status == http.StatusUnauthorized
	}},
	"wrong logins for an account": {10, 10 * time.Second, func(p *pressing, n int) bool {
		client := http.Client{Transport: from(127, 0, 3, byte(n)), Timeout: patience}
		got, _ := p.in.signIn(&client, "victim@example.com", fmt.Sprint("wrong", n))
		return got.status == http.StatusUnauthorized
	}},
	"sessions of a user": {20, time.Minute, func(p *pressing, _ int) bool {
		got, _ := p.in.signIn(p.client, p.user, password)
		return got.status == http.StatusOK
	}},
	"devices of a user": {20, 0, func(p *pressing, _ int) bool {
		return p.api(http.MethodPost, "subscriptions", p.newDevice()).status == http.StatusCreated
	}},
	"messages that a user causes": {19, 6 * time.Second, func(p *pressing, _ int) bool { // one is the code of the device
		return p.api(http.MethodPost, "subscriptions", p.body).status != http.StatusTooManyRequests
	}},
	"changes of a device": {30, 6 * time.Second, func(p *pressing, n int) bool {
		return p.api(http.MethodPatch, "subscriptions/"+p.device, fmt.Sprintf(`{"name":"x%d"}`, n)).status == http.StatusOK
	}},
	"codes that are tried": {30, 6 * time.Second, func(p *pressing, n int) bool {
		return p.api(http.MethodPatch, "subscriptions/"+p.device, fmt.Sprintf(`{"verificationCode":"%d"}`, n)).status != http.StatusTooManyRequests
	}},
	"tickets of a source that nobody wrote": {10, 2 * time.Second, func(p *pressing, n int) bool {
		return p.in.api(p.client, http.MethodPost, "actions", forged(p.user, fmt.Sprint("guess ", n))).status == http.StatusForbidden
	}},
	"actions of a user": {30, 6 * time.Second, func(p *pressing, _ int) bool {
		p.prepare.Do(func() {
			if h := p.in.newHolder(p.client, p.user); h != nil {
				p.ticket = h.ticket(p.in.uids.next())
			}
		})
		status := p.in.api(p.client, http.MethodPost, "actions", p.ticket).status // the mail is not there, or it was used
		return status == http.StatusNotFound || status == http.StatusConflict
	}},
	"streams of a user": {100, 0, func(p *pressing, _ int) bool {
		r, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, p.in.url+"/push/api/events", http.NoBody)
		if err != nil {
			panic(err)
		}
		r.SetBasicAuth(p.user, password)
		resp, err := p.client.Do(r)
		if err != nil {
			return false
		}
		p.t.Cleanup(func() { _ = resp.Body.Close() }) // until then it stays open
		return resp.StatusCode == http.StatusOK
	}},
}

// Requests that come all at the same time are let through no more often than
// those that come one after the other: each limiter counts first. Dovecot takes
// a second for a wrong login, so that all of them are under way together.
func TestLimitsHoldAtOnce(t *testing.T) {
	t.Parallel()
	const requests = 130
	var users []dovecottest.User
	for name := range limits {
		users = append(users, dovecottest.User{Name: accountOf(name), Password: password})
	}
	in := install(t, dovecottest.Config{Users: users, NoDebugLog: true, ExtraConfig: "auth_failure_delay = 1 secs\n"}, "")
	source := 0
	for name, limit := range limits {
		source++
		address := fmt.Sprintf("127.0.2.%d", source)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &pressing{t: t, in: in, user: accountOf(name), client: clientFrom(t, address, patience)}
			require.Eventually(t, func() bool { // the others keep Dovecot busy
				return p.api(http.MethodGet, "session", "").status == http.StatusOK
			}, patience, 100*time.Millisecond, "the login is known")
			if name != "devices of a user" {
				p.body = p.newDevice()
				p.device = identity(p.api(http.MethodPost, "subscriptions", p.body))
				require.NotEmpty(t, p.device)
			}
			var through atomic.Int64
			var wg sync.WaitGroup
			begin := make(chan struct{})
			start := time.Now()
			for n := range requests {
				wg.Go(func() {
					<-begin
					if limit.try(p, n) {
						through.Add(1)
					}
				})
			}
			close(begin)
			wg.Wait()
			most := limit.atOnce
			if limit.every > 0 {
				most += int(time.Since(start) / limit.every)
			}
			t.Logf("%d of %d", through.Load(), requests)
			assert.LessOrEqual(t, through.Load(), int64(most))
			assert.NotZero(t, through.Load())
		})
	}
}

// accountOf is whose account a limit is tried with.
func accountOf(limit string) string {
	name := []byte(limit)
	for i, c := range name {
		if c == ' ' {
			name[i] = '-'
		}
	}
	return string(name) + "@example.com"
}
