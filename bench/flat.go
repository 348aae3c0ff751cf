// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"time"
)

var flatFor = flag.Duration("flat", 10*time.Minute, "how long the part of that name delivers")

// flat shows that memory does not grow while notifications come and go.
func (b *bench) flat() error {
	hook, err := b.receiver()
	if err != nil {
		return err
	}
	s, err := b.caddy(b.binary, posting("sync always", hook.address))
	if err != nil {
		return err
	}
	type outcome struct {
		result result
		err    error
	}
	ended := make(chan outcome, 1)
	go func() {
		r, err := hook.while(func() (int64, error) {
			r, err := load{address: s.address, connections: front, duration: *flatFor}.run()
			return r.requests - r.failed, err
		})
		ended <- outcome{r, err}
	}()
	// The second tenth of the time, when everything is warm, and the last.
	var early, late []float64
	sample := time.NewTicker(*flatFor / 200)
	defer sample.Stop()
	for n := 1; ; n++ {
		select {
		case o := <-ended:
			if o.err != nil {
				return o.err
			}
			before, after := median(early), median(late)
			wanted, growth := atMost(1.1), after/before
			fmt.Printf("%d notifications in %v, %.0f/s. Resident memory, medians: %.1f MiB after %v, %.1f MiB at the end: %.2f (wanted: %v), %s.\n",
				o.result.requests, o.result.took.Round(time.Second), o.result.rate(), before, *flatFor/10, after,
				growth, wanted, wanted.verdict(growth))
			return nil
		case <-sample.C:
		}
		mib, err := residentMemory(s.PID())
		if err != nil {
			return err
		}
		switch {
		case n > 20 && n <= 40:
			early = append(early, mib)
		case n > 180 && n <= 200:
			late = append(late, mib)
		}
	}
}
