// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/catchup"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

var (
	catchUpUsers   = flag.Int("catchup-users", 10_000, "how many users of a real Dovecot the part catchup looks at")
	catchUpStandIn = flag.Int("catchup-standin-users", 100_000, "how many of the stand-in")
)

// catchUp measures sweeps that find nothing: over a real Dovecot, and over many
// users of the stand-in with the memory that they take.
func (b *bench) catchUp() error {
	users := make([]dovecottest.User, *catchUpUsers)
	for i := range users {
		users[i] = dovecottest.User{Name: fmt.Sprintf("user%06d@example.com", i), Password: "pass"}
	}
	dovecot, err := dovecottest.New(context.Background(), dovecottest.Config{Version: dovecottest.V23, Users: users, NoDebugLog: true})
	if err != nil {
		return err
	}
	b.closers = append(b.closers, dovecot)
	client, err := doveadm.New(doveadm.Config{Endpoints: []string{dovecot.DoveAdmURL()}, APISecret: dovecot.APIKey()})
	if err != nil {
		return err
	}
	defer client.Close()
	actual := &contender{name: fmt.Sprintf("a sweep over %d users of a real Dovecot", len(users)), measure: func() (result, error) {
		return b.sweepTwice(client, len(users))
	}}

	standIn := doveadmtest.NewServer(doveadmtest.Config{Users: doveadmtest.UserNames(*catchUpStandIn)})
	if err := standIn.Up(); err != nil {
		return err
	}
	defer standIn.Down()
	other, err := doveadm.New(doveadm.Config{Endpoints: []string{standIn.URL()}, APISecret: standIn.APISecret()})
	if err != nil {
		return err
	}
	defer other.Close()
	many := &contender{name: fmt.Sprintf("a sweep over %d users of the stand-in", *catchUpStandIn), measure: func() (result, error) {
		return b.sweepTwice(other, *catchUpStandIn)
	}}
	return compare("users/s", actual, many)
}

// sweepTwice makes a sweep that sees the mailboxes for the first time, and one
// that finds nothing, which counts.
func (b *bench) sweepTwice(client *doveadm.Client, users int) (result, error) {
	dir, err := os.MkdirTemp(b.dir, "catchup")
	if err != nil {
		return result{}, err
	}
	q, err := queue.Open(context.Background(), queue.Config{
		Embedded: &queue.Embedded{Path: dir}, MaxBytes: 1 << 30, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler),
		Journals: []string{catchup.Name},
	})
	if err != nil {
		return result{}, err
	}
	defer q.Close()
	logins, err := client.Users(context.Background(), "*")
	if err != nil {
		return result{}, err
	}
	c, err := catchup.New(catchup.Config{
		Queue: q, Alone: true, Source: catchup.NewDoveAdm(client), Logger: slog.New(slog.DiscardHandler), Interval: time.Hour,
		Users: func(context.Context) iter.Seq2[registration.Notified, error] {
			return func(yield func(registration.Notified, error) bool) {
				for _, login := range logins {
					if !yield(registration.Notified{User: login, Names: []string{login}}, nil) {
						return
					}
				}
			}
		},
		List: func(context.Context) ([]string, error) { return logins, nil },
	})
	if err != nil {
		return result{}, err
	}
	before := heap()
	c.Start()
	defer c.Stop()
	var p catchup.Progress
	for range 2 {
		if p, err = c.Sweep(context.Background(), nil, nil); err != nil {
			return result{}, err
		}
		if p.Done != users || p.Found > 0 || p.Failed > 0 {
			return result{}, fmt.Errorf("the sweep looked at %d of %d users, found %d notifications and failed with %d users", p.Done, users, p.Found, p.Failed)
		}
	}
	took := p.Ended.Sub(p.Started)
	fmt.Printf("%d users in %s, the marks take %.1f MiB\n", p.Done, took.Round(time.Millisecond), float64(heap()-before)/(1<<20))
	return result{requests: int64(p.Done), took: took}, nil
}

// heap is what is in use, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
