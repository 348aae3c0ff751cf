// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// disk measures what an fsync costs on this machine, because everything with
// "sync always" depends on it.
func (b *bench) disk() error {
	file, err := os.Create(filepath.Join(b.dir, "fsync"))
	if err != nil {
		return err
	}
	defer file.Close()
	page := make([]byte, 4096)
	var all []time.Duration
	for deadline := time.Now().Add(*duration); time.Now().Before(deadline); {
		begin := time.Now()
		if _, err := file.Write(page); err != nil {
			return err
		}
		if err := file.Sync(); err != nil {
			return err
		}
		all = append(all, time.Since(begin))
	}
	slices.Sort(all)
	fmt.Printf("Writing 4 KiB and fsync: p50 %s, p99 %s.\n",
		milliseconds(all[len(all)/2].Seconds()), milliseconds(all[len(all)*99/100].Seconds()))
	return nil
}
