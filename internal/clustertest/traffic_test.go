// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package clustertest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	// users report mails at the same time.
	users = 24
	// between two mails of a user.
	between = 100 * time.Millisecond
	// attempts are made for a mail, each at the next Caddy, as Dovecot does with
	// a name that has several addresses.
	attempts = 3
	again    = 100 * time.Millisecond
	// twice is how many mails there are for each that two drivers report at once.
	twice = 10
	// giveUp is how long an answer may take. Dovecot waits less.
	giveUp = 10 * time.Second
)

// receiver is the other end of the webhook.
type receiver struct {
	url     string
	history atomic.Pointer[history]
	count   atomic.Int64
}

func startReceiver(t testing.TB) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(gate, "8009"))
	require.NoError(t, err)
	r := &receiver{url: "http://" + l.Addr().String() + "/"}
	s := &http.Server{Handler: r}
	go s.Serve(l)
	t.Cleanup(func() { s.Close() })
	return r
}

func (r *receiver) got() int { return int(r.count.Load()) }

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var hook struct {
		Data struct {
			User string
			UID  uint32
		}
	}
	host, _, err := net.SplitHostPort(req.RemoteAddr)
	if err != nil || json.NewDecoder(req.Body).Decode(&hook) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.history.Load().delivery(delivery{mail{hook.Data.User, hook.Data.UID}, req.Header.Get("Webhook-Id"), nameOf(host), time.Now()})
	r.count.Add(1)
}

// nameOf is the name of the Caddy with the address.
func nameOf(addr string) string {
	n := 0
	_, _ = fmt.Sscanf(addr, subnet+"%d", &n)
	return fmt.Sprintf("c%d", n-10-size)
}

// user gets mails, one after the other.
type user struct {
	cluster *cluster
	name    string
	home    int
	random  *rand.Rand
	uid     uint32
	client  http.Client
}

// load reports mails until stop is called, which waits for the last answers.
func (c *cluster) load(seed uint64) (stop func()) {
	ctx, cancel := context.WithCancel(c.t.Context())
	var wg sync.WaitGroup
	for n := range users {
		u := &user{cluster: c, name: fmt.Sprintf("user%d-%d@example.com", n, seed), home: n % size, random: rand.New(rand.NewPCG(seed, uint64(n)))}
		u.client = http.Client{Transport: new(http.Transport), Timeout: giveUp}
		wg.Go(func() {
			defer u.client.CloseIdleConnections()
			for ctx.Err() == nil {
				u.deliver()
				time.Sleep(between/2 + time.Duration(u.random.Int64N(int64(between))))
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// deliver reports the next mail, and repeats it elsewhere if it is not taken.
func (u *user) deliver() {
	u.uid++
	if u.uid%twice == 0 {
		var other sync.WaitGroup
		other.Go(func() { u.send(u.cluster.caddys[(u.home+1)%size]) })
		defer other.Wait()
	}
	for n := range attempts {
		if u.send(u.cluster.caddys[(u.home+n)%size]) == http.StatusOK {
			return
		}
		time.Sleep(again)
	}
}

// send reports the mail, and notes the answer.
func (u *user) send(x *caddy) (status int) {
	body := fmt.Sprintf(`{"user":"%s","event":"messageNew","folder":"INBOX","imap-uidvalidity":1795452971,"imap-uid":%d,`+
		`"from":"Alice <alice@example.net>","subject":"Hello","snippet":"Hello","unseen":1}`, u.name, u.uid)
	r, err := http.NewRequest(http.MethodPut, "http://"+x.addr+":8080/preliminary/http-notify/v1/notify", strings.NewReader(body))
	require.NoError(u.cluster.t, err)
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	r.SetBasicAuth(notifyUser, notifyPassword)
	sent := time.Now()
	if resp, err := u.client.Do(r); err == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		status = resp.StatusCode
	}
	u.cluster.history.request(request{mail{u.name, u.uid}, x.name, sent, time.Now(), status})
	return status
}
