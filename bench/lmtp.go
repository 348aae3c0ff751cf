// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

const lmtpSessions = 4

var mails = flag.Int("mails", 400, "how many mails one measurement of the part lmtp delivers")

// lmtp compares how fast a real Dovecot delivers mail, depending on who takes
// its notifications, all over HTTPS.
func (b *bench) lmtp() error {
	bare, err := b.start("answering")
	if err != nil {
		return err
	}
	bareCA := filepath.Join(b.dir, "bare.pem")
	if err := os.WriteFile(bareCA, bare.certificate, 0o600); err != nil {
		return err
	}
	middleware, err := b.middleware()
	if err != nil {
		return err
	}
	hanging, err := b.hanging()
	if err != nil {
		return err
	}
	contenders := make([]*contender, 3)
	contenders[0], err = b.pushing("push to a bare server", bare.https, bareCA)
	if err != nil {
		return err
	}
	for i, c := range []struct{ name, middleware string }{
		{"push to this module", middleware},
		{"push to this module, the middleware hangs", hanging},
	} {
		s, err := b.caddy(b.binary, internalTLS(accepting(c.middleware, "sync always")))
		if err != nil {
			return err
		}
		if contenders[i+1], err = b.pushing(c.name, s.address, s.RootCA()); err != nil {
			return err
		}
		contenders[i+1].server = s
	}
	if err := compare("mails/s", contenders...); err != nil {
		return err
	}
	judge(
		ratio{"mails/s over push to a bare server", contenders[1], contenders[0], result.rate, atLeast(0.95)},
		ratio{"the same while the middleware hangs", contenders[2], contenders[0], result.rate, atLeast(0.95)},
	)
	return nil
}

// pushing is a Dovecot that pushes to address, and its deliveries.
func (b *bench) pushing(name, address, ca string) (*contender, error) {
	users := make([]dovecottest.User, lmtpSessions)
	for i := range users {
		users[i] = dovecottest.User{Name: fmt.Sprintf("user%d@example.com", i), Password: "pass"}
	}
	dovecot, err := dovecottest.New(context.Background(), dovecottest.Config{
		Version: dovecottest.V23, Users: users, NoDebugLog: true, SSLClientCAFile: ca,
		Drivers: []dovecottest.Driver{{URL: "https://" + username + ":" + password + "@" + address + notifyPath}},
	})
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, dovecot)
	for _, u := range users {
		if err := dovecot.Register(u.Name); err != nil {
			return nil, err
		}
	}
	return &contender{name: name, measure: func() (result, error) { return deliver(dovecot, users) }}, nil
}

// deliver delivers over one session for each user at the same time.
func deliver(dovecot *dovecottest.Server, users []dovecottest.User) (result, error) {
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		all    []time.Duration
		failed error
	)
	start := time.Now()
	for _, u := range users {
		wg.Go(func() {
			latencies, err := deliverTo(dovecot, u.Name, *mails/len(users))
			mu.Lock()
			defer mu.Unlock()
			all = append(all, latencies...)
			failed = errors.Join(failed, err)
		})
	}
	wg.Wait()
	return newResult(all, time.Since(start)), failed
}

func deliverTo(dovecot *dovecottest.Server, user string, mails int) (latencies []time.Duration, err error) {
	message := []byte("From: Alice <alice@example.net>\r\nSubject: bench\r\n\r\nHello.\r\n")
	session, err := dovecot.OpenLMTP()
	if err != nil {
		return nil, err
	}
	defer session.Close()
	for range mails {
		took, err := session.Deliver("alice@example.net", []string{user}, message)
		if err != nil {
			return latencies, err
		}
		latencies = append(latencies, took)
	}
	return latencies, nil
}

type closer func()

func (c closer) Close() error { c(); return nil }
