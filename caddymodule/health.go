// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"
)

const (
	// healthTimeout bounds one look at the queue.
	healthTimeout = 3 * time.Second
	// healthAge is how long an answer is good for: load balancers ask often,
	// and each look writes to the disk.
	healthAge = time.Second
)

// Health is how the app is for those who decide whether to send it requests.
type Health struct {
	// Whether notifications can be taken in: one was written, the same way.
	Ready bool `json:"ready"`
	// Why not.
	Error string `json:"error,omitempty"`
	// Whether each target takes notifications. One that does not keeps nobody
	// from taking them in.
	Targets map[string]bool `json:"targets"`
}

// healthCheck remembers the last look.
type healthCheck struct {
	mu   sync.Mutex
	at   time.Time
	last Health
}

// health looks at the real path: it writes to the store of the queue.
func (a *App) health() Health {
	c := a.healthCheck
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.at) < healthAge {
		return c.last
	}
	h := Health{Targets: make(map[string]bool, len(a.targets))}
	q := a.queue.Load()
	if q == nil {
		h.Error = "the queue is not open yet"
		return h
	}
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	if err := q.Check(ctx); err != nil {
		h.Error = err.Error()
	}
	h.Ready = h.Error == ""
	for _, name := range a.targetNames() {
		h.Targets[name] = !a.engine.Down(name)
	}
	c.last, c.at = h, time.Now()
	return h
}

func getHealthLive(*App, *http.Request) (any, error) {
	return map[string]bool{"live": true}, nil
}

func getHealthReady(a *App, _ *http.Request) (any, error) {
	h := a.health()
	if h.Ready {
		return h, nil
	}
	return adminStream(func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusServiceUnavailable)
		return json.NewEncoder(w).Encode(h)
	}), nil
}

// serveHealth answers load balancers, who look at the status only. What is
// wrong is for the log and the admin API.
func (a *App) serveHealth(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
		return nil
	}
	w.Header().Set("Cache-Control", "no-store")
	if !a.health().Ready {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
		return nil
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// diskFree is how many bytes the disk of an embedded queue has left.
func (a *App) diskFree() (uint64, bool) {
	if a.Queue.Embedded == nil {
		return 0, false
	}
	return freeBytes(a.Queue.Embedded.Path)
}
