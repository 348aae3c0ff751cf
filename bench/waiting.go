// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"time"
)

var waiting = flag.Int64("waiting", 1_000_000, "how many notifications wait in the part of that name")

// waiting shows that a backlog does not slow the front down.
func (b *bench) waiting() error {
	away, err := closedPort()
	if err != nil {
		return err
	}
	empty, err := b.caddy(b.binary, accepting(away, "sync always"))
	if err != nil {
		return err
	}
	full, err := b.caddy(b.binary, accepting(away, "sync always"))
	if err != nil {
		return err
	}
	begin := time.Now()
	if _, err := (load{address: full.address, connections: 256, requests: *waiting}).run(); err != nil {
		return err
	}
	fmt.Printf("filled with %d notifications in %v\n", *waiting, time.Since(begin).Round(time.Second))
	var contenders []*contender
	for _, c := range []struct {
		name string
		*server
	}{{"an empty queue at first", empty}, {fmt.Sprintf("%d waiting", *waiting), full}} {
		contenders = append(contenders, &contender{name: c.name, server: c.server, measure: func() (result, error) {
			return load{address: c.address, connections: front, duration: *duration}.run()
		}})
	}
	if err := compare("requests/s", contenders...); err != nil {
		return err
	}
	judge(ratio{"requests/s over those with an empty queue", contenders[1], contenders[0], result.rate, atLeast(0.9)})
	return nil
}
