// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/apns"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device/devicetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/fcm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

const (
	appTopic = "com.example.mail"
	// appPace is the rate at which latencies are taken, a second.
	appPace = 1000
	// manyApps have owners with as many apps as a user may have; every 50th of them
	// was removed from its device.
	manyApps = 100_000
	deadApp  = 50
)

// appService is one of those that apps are reached by.
type appService struct {
	send   device.Sender
	sealed device.Sender
	add    func() (*pushtest.App, error)
	opened *atomic.Int64
	posts  func() int
}

// apns measures sending to apps on Apple's devices.
func (b *bench) apns() error {
	service := pushtest.NewAPNs(1000, appTopic)
	defer service.Close()
	service.Discard.Store(true)
	key, id, err := service.NewKey()
	if err != nil {
		return err
	}
	provider, err := apns.NewProvider(key, id, service.TeamID)
	if err != nil {
		return err
	}
	policy, err := outbound.NewPolicy(service.Origin)
	if err != nil {
		return err
	}
	client := outbound.NewClient(outbound.Config{Policy: policy, RootCAs: service.RootCAs(), HTTP2: true, Connections: device.Connections})
	defer client.CloseIdleConnections()
	devices := apns.Devices{
		Client: client, Production: service.Origin, Sandbox: service.Origin, Provider: provider, Topics: []string{appTopic},
		MailContent: notification.Thin, TTL: 24 * time.Hour,
	}
	sealed := devices
	sealed.Sealed, sealed.MailContent = true, notification.Sender
	return b.apps(&appService{&devices, &sealed, func() (*pushtest.App, error) { return service.NewApp(appTopic, "") }, &service.Opened, service.Posts})
}

// fcm measures sending to apps on Android.
func (b *bench) fcm() error {
	service := pushtest.NewFCM()
	defer service.Close()
	service.Discard.Store(true)
	file, _, err := service.NewAccount()
	if err != nil {
		return err
	}
	policy, err := outbound.NewPolicy(service.Origin)
	if err != nil {
		return err
	}
	client := outbound.NewClient(outbound.Config{Policy: policy, RootCAs: service.RootCAs(), Connections: device.Connections})
	defer client.CloseIdleConnections()
	account, err := fcm.NewAccount(file, func(string) (*http.Client, error) { return client, nil })
	if err != nil {
		return err
	}
	devices := fcm.Devices{Client: client, Endpoint: service.Origin, Account: account, MailContent: notification.Thin, TTL: 24 * time.Hour}
	sealed := devices
	sealed.Sealed, sealed.MailContent = true, notification.Sender
	return b.apps(&appService{&devices, &sealed, func() (*pushtest.App, error) { return service.NewApp(service.Project) }, &service.Opened, service.Posts})
}

// apps measures a service from this process, where the processor time is that of both
// sides.
func (b *bench) apps(s *appService) error {
	phones := make([]subscription.Subscription, pushDevices)
	for i := range phones {
		app, err := s.add()
		if err != nil {
			return err
		}
		phone, err := devicetest.NewSubscription(app)
		if err != nil {
			return err
		}
		phones[i] = *phone
	}
	var mail notification.Mail
	if err := json.Unmarshal([]byte(pushPayload), &mail); err != nil {
		return err
	}
	to := func(sender device.Sender) func(int) error {
		return func(i int) error {
			if r := sender.SendMail(context.Background(), &phones[i%pushDevices], mail); r.Outcome != delivery.Delivered {
				return fmt.Errorf("%s: %w", r.Reason, r.Err)
			}
			return nil
		}
	}
	thin := &contender{name: "as it is", measure: func() (result, error) { return pushes(to(s.send)) }}
	sealed := &contender{name: "sealed", measure: func() (result, error) { return pushes(to(s.sealed)) }}
	paced := &contender{name: "sealed, 1000 a second", measure: func() (result, error) { return pace(to(s.sealed)) }}
	if _, err := thin.measure(); err != nil { // which makes what there is once
		return err
	}
	heap := heapMiB()
	if err := compare("messages/s", thin, sealed, paced); err != nil {
		return err
	}
	fmt.Println()
	growth, flat := heapMiB()-heap, atMost(16)
	fmt.Printf("Heap after %d rounds over that before: %+.1f MiB (wanted: %v), %s.\n", *rounds+1, growth, flat, flat.verdict(growth))
	for _, c := range []*contender{thin, sealed} {
		rate, wanted := c.median(result.rate), atLeast(5000)
		fmt.Printf("%.0f messages/s, %s (wanted: %v), %s.\n", rate, c.name, wanted, wanted.verdict(rate))
	}
	p99, most := paced.median(result.p99Latency)*1000, atMost(50)
	fmt.Printf("p99 at %d messages/s: %.1f ms (wanted: %v), %s.\n", appPace, p99, most, most.verdict(p99))
	opened, few := float64(s.opened.Load()), atMost(10)
	fmt.Printf("Connections: %.0f (wanted: %v), %s.\n", opened, few, few.verdict(opened))
	return b.manyApps(s)
}

// heapMiB is what is in use after a collection.
func heapMiB() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc) / (1 << 20)
}

// pace sends at a fixed rate, and counts from when each message was due.
func pace(send func(i int) error) (result, error) {
	var (
		mu        sync.Mutex
		latencies []time.Duration
		failure   error
		wg        sync.WaitGroup
		begin     = time.Now()
	)
	n := int(appPace * duration.Seconds())
	for i := range n {
		due := begin.Add(time.Duration(i) * time.Second / appPace)
		time.Sleep(time.Until(due))
		wg.Go(func() {
			err := send(i)
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, time.Since(due))
			failure = errors.Join(failure, err)
		})
	}
	wg.Wait()
	return newResult(latencies, time.Since(begin)), failure
}

// manyApps sends one mail to each of many apps, of which some are gone: those must be
// removed, and the others must be there and have been served.
func (b *bench) manyApps(s *appService) error {
	dir, err := os.MkdirTemp(b.dir, "apps")
	if err != nil {
		return err
	}
	q, err := queue.Open(context.Background(), queue.Config{
		Embedded: &queue.Embedded{Path: dir, Sync: time.Minute}, MaxBytes: 1 << 30, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer q.Close()
	users, dead, err := fillApps(q, s)
	if err != nil {
		return err
	}
	store := subscription.New(subscription.Config{
		Table: q.Table("subscriptions"), Logger: slog.New(slog.DiscardHandler), Kinds: []subscription.Kind{s.send.Kind()},
	})
	store.Start()
	defer store.Stop()
	if err := store.Wait(context.Background()); err != nil {
		return err
	}
	target := &device.Target{Sender: s.send, Subscriptions: store, Decoder: &notification.Decoder{Events: notification.AllEvents}}
	before, begin := s.posts(), time.Now()
	outcomes, err := mailToEverybody(target, users)
	if err != nil {
		return err
	}
	took := time.Since(begin)
	left, _ := store.Count()
	wrong := abs(manyApps-dead-left) + abs(dead-outcomes[delivery.Gone]) + abs(manyApps-dead-outcomes[delivery.Delivered])
	none := atMost(0)
	fmt.Printf("%d apps, %d of them gone: after one mail to each, %d messages in %.1f s, %d are left; wrong: %d (wanted: %v), %s.\n\n",
		manyApps, dead, s.posts()-before, took.Seconds(), left, wrong, none, none.verdict(float64(wrong)))
	return nil
}

func abs(n int) int { return max(n, -n) }

// fillApps gives users their apps, without the codes.
func fillApps(q *queue.Queue, s *appService) (users []string, dead int, err error) {
	table := q.Table("subscriptions")
	for n := 0; n < manyApps; n += subscription.MaxPerUser {
		user := fmt.Sprintf("user%d@example.com", n)
		list := make([]subscription.Subscription, subscription.MaxPerUser)
		for i := range list {
			app, err := s.add()
			if err != nil {
				return nil, 0, err
			}
			phone, err := devicetest.NewSubscription(app)
			if err != nil {
				return nil, 0, err
			}
			list[i] = *phone
			if (n+i)%deadApp == 0 {
				app.Uninstall()
				dead++
			}
		}
		text, err := json.Marshal(list)
		if err != nil {
			return nil, 0, err
		}
		if _, err := table.Create(context.Background(), queue.Key{user}, text); err != nil {
			return nil, 0, err
		}
		users = append(users, user)
	}
	return users, dead, nil
}

func mailToEverybody(target *device.Target, users []string) (map[delivery.Outcome]int, error) {
	var (
		mu       sync.Mutex
		outcomes = make(map[delivery.Outcome]int)
		failure  error
		wg       sync.WaitGroup
		next     = make(chan string)
	)
	one := func(user string) error {
		r := &queue.Record{Accepted: time.Now(), Body: fmt.Appendf(nil, `{"user":%q,"event":"messageNew","folder":"INBOX","imap-uidvalidity":1,"imap-uid":7}`, user)}
		all, err := target.Destinations(context.Background(), r)
		if err != nil {
			return err
		}
		for _, d := range all {
			there := *r
			there.Destination = d.Key
			result := target.Deliver(context.Background(), &there)
			mu.Lock()
			outcomes[result.Outcome]++
			if result.Outcome != delivery.Gone {
				failure = errors.Join(failure, result.Err)
			}
			mu.Unlock()
		}
		return nil
	}
	for range pushAtOnce {
		wg.Go(func() {
			for user := range next {
				if err := one(user); err != nil {
					mu.Lock()
					failure = errors.Join(failure, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, user := range users {
		next <- user
	}
	close(next)
	wg.Wait()
	return outcomes, failure
}
