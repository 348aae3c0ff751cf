// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"slices"
	"sync"
)

// holders are the apps that hold something of a pool, the newest last: around a
// reload there are two. It goes by the settings of the newest.
type holders struct {
	mu  sync.Mutex
	all []*App
}

func (h *holders) add(a *App) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, a)
}

// leave takes a out. It returns the app whose settings hold again, or nil if
// nothing changes: a configuration that could not be started gives back what it
// took over to the one before it, which goes on.
func (h *holders) leave(a *App) (heir *App) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.Index(h.all, a)
	if i < 0 {
		return nil
	}
	newest := i == len(h.all)-1
	h.all = slices.Delete(h.all, i, i+1)
	if !newest || len(h.all) == 0 {
		return nil
	}
	return h.all[len(h.all)-1]
}
