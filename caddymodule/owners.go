// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"slices"
	"sync"
)

// owners are the apps that hold something of a pool, the newest last: around a
// reload there are two. It goes by the settings of the newest.
type owners struct {
	mu  sync.Mutex
	all []*App
}

func (o *owners) add(a *App) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all = append(o.all, a)
}

// leave takes a out. It returns the app whose settings hold again, or nil if
// nothing changes: a configuration that could not be started gives back what it
// took over to the one before it, which goes on.
func (o *owners) leave(a *App) (successor *App) {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := slices.Index(o.all, a)
	if i < 0 {
		return nil
	}
	newest := i == len(o.all)-1
	o.all = slices.Delete(o.all, i, i+1)
	if !newest || len(o.all) == 0 {
		return nil
	}
	return o.all[len(o.all)-1]
}
