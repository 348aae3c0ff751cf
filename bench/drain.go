// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// fewWaiting is a backlog that is small, and still takes some seconds.
const fewWaiting = 50_000

// drain measures how fast a webhook gets what waits when it comes back, and how
// much memory that takes.
func (b *bench) drain() error {
	hook, err := b.receiver()
	if err != nil {
		return err
	}
	idle, err := b.idle(posting("sync always", hook.address))
	if err != nil {
		return err
	}
	row("waiting", "notifications/s", "CPU each", "memory at most")
	row("---:", "---:", "---:", "---:")
	var few []float64
	var many, most float64
	for i, waiting := range []int64{fewWaiting, *waiting, fewWaiting} {
		r, memory, err := b.comeBack(hook, "drain"+strconv.Itoa(i), waiting)
		if err != nil {
			return err
		}
		row(strconv.FormatInt(waiting, 10), fmt.Sprintf("%.0f", r.rate()), microseconds(r.cpuPerRequest()), fmt.Sprintf("%.1f MiB", memory))
		if i == 1 {
			many, most = r.rate(), memory
		} else {
			few = append(few, r.rate())
		}
	}
	value, wanted := many/((few[0]+few[1])/2), atLeast(0.8)
	fmt.Printf("\nThe rate over that of a small backlog: %.2f (wanted: %v), %s.\n", value, wanted, wanted.verdict(value))
	more, limit := most-idle, atMost(150)
	fmt.Printf("Memory over that of the idle process (%.1f MiB): +%.1f MiB (wanted: %v), %s.\n", idle, more, limit, limit.verdict(more))
	return nil
}

// idle is the resident memory of a Caddy that has nothing to do, in MiB.
func (b *bench) idle(caddyfile string) (float64, error) {
	s, err := b.caddy(b.binary, caddyfile)
	if err != nil {
		return 0, err
	}
	defer b.stop(s)
	time.Sleep(5 * time.Second)
	return residentMemory(s.PID())
}

// comeBack fills a queue, starts a Caddy on it, and waits until the webhook has
// all. most is the most resident memory, in MiB.
func (b *bench) comeBack(hook *receiver, name string, waiting int64) (r result, most float64, err error) {
	path := filepath.Join(b.dir, name)
	begin := time.Now()
	if err := fill(path, "w0", waiting); err != nil {
		return r, 0, fmt.Errorf("filling the queue: %w", err)
	}
	fmt.Fprintf(os.Stderr, "(stored %d notifications in %v)\n", waiting, time.Since(begin).Round(time.Second))
	before := hook.answered.Load()
	s, err := b.caddy(b.binary, posting("sync always\npath "+path, hook.address))
	if err != nil {
		return r, 0, err
	}
	defer b.stop(s)
	if err := hook.until(before + 1); err != nil {
		return r, 0, err
	}
	processor, err := processorTime(s.PID())
	if err != nil {
		return r, 0, err
	}
	start, first := time.Now(), hook.answered.Load()
	ended := make(chan error, 1)
	go func() { ended <- hook.until(before + waiting) }()
	sample := time.NewTicker(100 * time.Millisecond)
	defer sample.Stop()
	for done := false; !done; {
		select {
		case err := <-ended:
			if err != nil {
				return r, most, err
			}
			done = true
		case <-sample.C:
		}
		mib, err := residentMemory(s.PID())
		if err != nil {
			return r, most, err
		}
		most = max(most, mib)
	}
	r.requests, r.took = before+waiting-first, time.Since(start)
	after, err := processorTime(s.PID())
	r.cpu = after - processor
	return r, most, err
}
