// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

var waiting = flag.Int64("waiting", 1_000_000, "how many notifications wait in the parts waiting and drain")

// waiting shows that a backlog does not slow the front down.
func (b *bench) waiting() error {
	away, err := freeport.Address()
	if err != nil {
		return err
	}
	var contenders []*contender
	for _, c := range []struct {
		name string
		fill int64
	}{{"an empty queue at first", 0}, {fmt.Sprintf("%d waiting", *waiting), *waiting}} {
		path := filepath.Join(b.dir, "queue"+strconv.FormatInt(c.fill, 10))
		begin := time.Now()
		if err := fill(path, "middleware", c.fill); err != nil {
			return fmt.Errorf("filling the queue: %w", err)
		}
		fmt.Fprintf(os.Stderr, "(stored %d notifications in %v)\n", c.fill, time.Since(begin).Round(time.Second))
		s, err := b.caddy(b.binary, accepting(away, "sync always\npath "+path))
		if err != nil {
			return err
		}
		contenders = append(contenders, &contender{name: c.name, server: s, measure: func() (result, error) {
			return load{address: s.address, connections: front, duration: *duration}.run()
		}})
	}
	if err := compare("requests/s", contenders...); err != nil {
		return err
	}
	judge(ratio{"requests/s over those with an empty queue", contenders[1], contenders[0], result.rate, atLeast(0.9)})
	return nil
}

// fill stores notifications for a target, past the front, in groups as front
// connections make them.
func fill(path, target string, notifications int64) (err error) {
	ctx := context.Background()
	q, err := queue.Open(ctx, queue.Config{
		Embedded: &queue.Embedded{Path: path, Sync: time.Hour},
		MaxBytes: queueBytes, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	release, err := q.Use(ctx, []string{target})
	if err != nil {
		return err
	}
	defer release()
	var (
		wg     sync.WaitGroup
		left   atomic.Int64
		failed atomic.Pointer[error]
	)
	left.Store(notifications)
	for range front {
		wg.Go(func() {
			for left.Add(-1) >= 0 && failed.Load() == nil {
				if err := store(ctx, q); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func store(ctx context.Context, q *queue.Queue) error {
	f := newForm(body)
	f.next()
	n, err := notification.Identify(f.text, nil)
	if err != nil {
		return err
	}
	id, _ := n.Identity(f.text, "")
	_, err = q.Accept(ctx, queue.Record{ID: id, Mailbox: n.Mailbox(), UID: n.UID, Accepted: time.Now(), Body: f.text}, 0)
	return err
}
