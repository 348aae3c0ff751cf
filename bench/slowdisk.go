// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/faultydisk"
	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// slowSync is what a sync takes longer on the disk of slowDisk.
const slowSync = 5 * time.Millisecond

// slowDisk shows how many notifications share a write where one takes long.
func (b *bench) slowDisk() (err error) {
	mounted, backing := filepath.Join(b.dir, "slow"), filepath.Join(b.dir, "backing")
	if err := errors.Join(os.Mkdir(mounted, 0o700), os.Mkdir(backing, 0o700)); err != nil {
		return err
	}
	disk, err := faultydisk.Mount(mounted, backing, faultydisk.Slow(slowSync))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, disk.Unmount()) }()
	away, err := freeport.Address()
	if err != nil {
		return err
	}
	caddyfile := strings.Replace(accepting(away, "sync always"), "queue embedded {", "queue embedded {\npath "+filepath.Join(mounted, "queue"), 1)
	s, err := b.caddy(b.binary, caddyfile)
	if err != nil {
		return err
	}
	defer s.Kill() // it cannot end without its disk
	perSync := make(map[int]float64)
	var contenders []*contender
	for _, n := range []int{1, front, 256} {
		contenders = append(contenders, &contender{
			name: fmt.Sprint(n), server: s,
			measure: func() (result, error) {
				before := disk.Affected()
				r, err := load{address: s.address, connections: n, duration: *duration}.run()
				perSync[n] = float64(r.requests) / float64(disk.Affected()-before)
				return r, err
			},
		})
	}
	if err := compare("requests/s", contenders...); err != nil {
		return err
	}
	fmt.Printf("\nNotifications for each sync in the last round: %.1f with one connection, %.1f with %d, %.1f with 256.\n", perSync[1], perSync[front], front, perSync[256])
	return nil
}
