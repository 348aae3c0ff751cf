// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// floodConnections show wrong logins, each as soon as it has the answer to the
// one before.
const floodConnections = 128

// loginFlood shows that a flood of wrong logins does not slow down the
// endpoint that Dovecot waits for. Logins are checked at a real Dovecot.
func (b *bench) loginFlood() error {
	dovecot, err := dovecottest.New(context.Background(), dovecottest.Config{Version: dovecottest.V23, NoDebugLog: true})
	if err != nil {
		return err
	}
	b.closers = append(b.closers, dovecot)
	s, err := b.caddy(b.binary, strings.Replace(accepting("", "sync always"), "dovecot_push_notify", `dovecot_push_api {
		login imap imap://`+dovecot.IMAPAddr()+`
	}
	dovecot_push_notify`, 1))
	if err != nil {
		return err
	}
	var refused atomic.Int64
	quiet := &contender{name: "no logins", server: s, measure: load{address: s.address, connections: front, duration: *duration}.run}
	flooded := &contender{name: "a flood of wrong logins", server: s, measure: func() (result, error) {
		stop := flood(s.address, &refused)
		r, err := load{address: s.address, connections: front, duration: *duration}.run()
		return r, errors.Join(err, stop())
	}}
	if err := compare("requests/s", quiet, flooded); err != nil {
		return err
	}
	fmt.Printf("\n%d logins were refused.\n", refused.Load())
	judge(ratio{"p99 over that without logins", flooded, quiet, result.p99Latency, atMost(2)})
	return nil
}

// flood shows wrong logins until stop is called.
func flood(address string, refused *atomic.Int64) (stop func() error) {
	ctx, cancel := context.WithCancel(context.Background())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: floodConnections}}
	var wg sync.WaitGroup
	var failure atomic.Pointer[error]
	for n := range floodConnections {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				body := fmt.Sprintf(`{"username":"user%d@example.com","password":"guess %d"}`, n, i)
				r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+"/push/api/session", strings.NewReader(body))
				if err != nil {
					failure.Store(&err)
					return
				}
				r.Header.Set("Content-Type", "application/json")
				resp, err := client.Do(r)
				if err != nil {
					continue // stopped
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				refused.Add(1)
			}
		})
	}
	time.Sleep(500 * time.Millisecond) // it is under way
	return func() error {
		cancel()
		wg.Wait()
		client.CloseIdleConnections()
		if err := failure.Load(); err != nil {
			return *err
		}
		return nil
	}
}
