// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Status is what GET /dovecot_push/status answers: how the running app is.
type Status struct {
	Queue   QueueStatus    `json:"queue"`
	Targets []TargetStatus `json:"targets"`
}

// QueueStatus is the state of the queue.
type QueueStatus struct {
	// Whether notifications can be stored.
	Up bool `json:"up"`
	// Why not.
	Error string `json:"error,omitempty"`
	// Notifications that some target still has to get, and what they take in
	// the store, of how much they may take.
	Notifications uint64 `json:"notifications"`
	Bytes         uint64 `json:"bytes"`
	MaxBytes      int64  `json:"max_bytes"`
	// When the oldest of them was accepted.
	Oldest *time.Time `json:"oldest,omitempty"`
}

// TargetStatus is the state of one target.
type TargetStatus struct {
	Name string `json:"name"`
	// Whether the target takes notifications, or counts as down.
	Up bool `json:"up"`
	// Notifications not attempted so far, waiting for another attempt, and
	// given up.
	Waiting     uint64 `json:"waiting"`
	Parked      uint64 `json:"parked"`
	DeadLetters uint64 `json:"dead_letters"`
}

func getStatus(a *App, r *http.Request) (any, error) {
	return a.status(r.Context()), nil
}

func (a *App) status(ctx context.Context) Status {
	status := Status{Queue: QueueStatus{MaxBytes: a.Queue.MaxBytes}, Targets: []TargetStatus{}}
	q := a.queue.Load()
	if q == nil {
		status.Queue.Error = "the queue is not open yet"
		return status
	}
	ctx, cancel := context.WithTimeout(ctx, stateTimeout)
	defer cancel()
	stats, err := q.Stats(ctx, a.targetNames())
	if err != nil {
		status.Queue.Error = err.Error()
	}
	status.Queue.Up = err == nil
	status.Queue.Notifications, status.Queue.Bytes = stats.Waiting, stats.Bytes
	if !stats.Oldest.IsZero() {
		status.Queue.Oldest = &stats.Oldest
	}
	for _, name := range a.targetNames() {
		t := stats.Targets[name]
		status.Targets = append(status.Targets, TargetStatus{
			Name: name, Up: !a.engine.Down(name),
			Waiting: t.Waiting, Parked: t.Parked, DeadLetters: t.Dead,
		})
	}
	slices.SortFunc(status.Targets, func(a, b TargetStatus) int { return strings.Compare(a.Name, b.Name) })
	return status
}
