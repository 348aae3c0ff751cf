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
	"runtime/metrics"
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
	defer standIn.Down()
	other, err := doveadm.New(doveadm.Config{Endpoints: []string{standIn.URL()}, APISecret: standIn.APISecret()})
	if err != nil {
		return err
	}
	defer other.Close()
	many := &contender{name: fmt.Sprintf("a sweep over %d users of the stand-in", *catchUpStandIn), measure: func() (result, error) {
		return b.sweepTwice(other, *catchUpStandIn)
	}}
	if err := compare("users/s", actual, many); err != nil {
		return err
	}
	rate, took, memory := atLeast(2000), atMost(60), atMost(40)
	perSecond := actual.median(result.rate)
	seconds := many.median(func(r result) float64 { return r.took.Seconds() })
	fmt.Printf("\nUsers of a real Dovecot a second: %.0f (wanted: %v), %s. All users of the stand-in: %.1f s (wanted: %v), %s.\n",
		perSecond, rate, rate.verdict(perSecond), seconds, took, took.verdict(seconds))
	fmt.Printf("Memory in use over that before the sweep of the stand-in, which is in the same process: at most %+.1f MiB (wanted: %v), %s.\n",
		b.sweepMemory, memory, memory.verdict(b.sweepMemory))
	return nil
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
	memory := watchHeap()
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
	b.sweepMemory = memory()
	return result{requests: int64(p.Done), took: p.Ended.Sub(p.Started)}, nil
}

// watchHeap begins to watch how much memory is in use at each garbage collection.
// The function that it returns ends that, and returns by how many MiB it grew at
// most.
func watchHeap() func() float64 {
	heap := func() uint64 {
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(sample)
		return sample[0].Value.Uint64()
	}
	runtime.GC()
	before := heap()
	most := before
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-end:
				return
			case <-tick.C:
				most = max(most, heap())
			}
		}
	}()
	return func() float64 {
		runtime.GC()
		close(end)
		<-ended
		return float64(max(most, heap())-before) / (1 << 20)
	}
}
