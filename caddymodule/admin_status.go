// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

// processStart is when the counters began.
var processStart = time.Now()

// instance tells this process from others.
var instance = rand.Text()

func getStatus(a *App, r *http.Request) (any, error) {
	return a.status(r.Context()), nil
}

func (a *App) status(ctx context.Context) adminapi.Status {
	status := adminapi.Status{
		Version: version,
		Since:   processStart, Instance: instance, Endpoints: a.endpoints,
		Requests: counts(notifyRequests, "result"), Refused: counts(guardRefused, "reason"),
		Queue: adminapi.QueueStatus{MaxBytes: a.Queue.MaxBytes}, Targets: []adminapi.TargetStatus{}, DoveAdm: a.doveadmStatus(),
	}
	if free, known := a.diskFree(); known {
		status.Queue.DiskFree = &free
	}
	status.Registration, status.Devices, status.Streams = a.registrationStatus(), a.devicesStatus(), a.streamsStatus()
	status.SignedOut, status.CatchUp = a.signedOutStatus(), a.catchUpStatus()
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
	if i := q.Inspect(); i != nil {
		status.Queue.Durability, status.Queue.DurabilityReason, status.Queue.Problems = string(i.Durability), i.Reason, i.Problems
	}
	status.Queue.Notifications, status.Queue.Bytes = stats.Waiting, stats.Bytes
	if !stats.Oldest.IsZero() {
		status.Queue.Oldest = &stats.Oldest
	}
	status.Queue.Removed = removedTargets(stats)
	for _, m := range a.targets {
		name := m.Target().Name
		t, engine := stats.Targets[name], a.engine.Status(name)
		target := adminapi.TargetStatus{
			Name: name, Up: !engine.Down, InFlight: engine.InFlight,
			Waiting: t.Waiting, Parked: t.Parked, DeadLetters: t.Dead,
			Attempts:     counts(attempts, "outcome", "target", name),
			UnknownUsers: unknownUsers(m),
			LastFailure:  a.failures.last(name),
		}
		if !engine.Oldest.IsZero() {
			target.Oldest = &engine.Oldest
		}
		status.Targets = append(status.Targets, target)
	}
	slices.SortFunc(status.Targets, func(a, b adminapi.TargetStatus) int { return strings.Compare(a.Name, b.Name) })
	return status
}

// devicesStatus is nil without devices, and before they are known.
func (a *App) devicesStatus() *adminapi.DevicesStatus {
	if a.devices == nil || !a.devices.isStarted() {
		return nil
	}
	all, confirmed := a.devices.store.Count()
	return &adminapi.DevicesStatus{Confirmed: confirmed, Unconfirmed: all - confirmed}
}

// signedOutStatus is nil where nobody signs in, and before that has started.
func (a *App) signedOutStatus() *adminapi.SignedOutStatus {
	if a.streams == nil || !a.streams.isStarted() {
		return nil
	}
	entries, users := a.streams.state.revoked.Count()
	return &adminapi.SignedOutStatus{Entries: entries, Users: users}
}

// streamsStatus is nil where there are no event streams.
func (a *App) streamsStatus() *int {
	if a.streams == nil {
		return nil
	}
	var m dto.Metric
	if err := streamsOpen.Write(&m); err != nil {
		return nil
	}
	open := int(m.GetGauge().GetValue())
	return &open
}

// unknownUsers is how many notifications a target delivered in vain, because its
// receiver does not know the users.
func unknownUsers(m target.Module) uint64 {
	if c, ok := m.(target.UserChecker); ok {
		return c.UnknownUsers()
	}
	return 0
}

// addEndpoint notes a notify endpoint, while the configuration is provisioned.
func (a *App) addEndpoint(ctx caddy.Context, n *Notify) {
	allow := n.gate.guard.Allow
	e := adminapi.EndpointStatus{
		Path:        n.Path,
		Nobody:      allow.Len() == 0 && len(n.gate.guard.Sources) == 0,
		Everybody:   allow.Contains(strangers[0]) || allow.Contains(strangers[1]),
		Credentials: len(n.Credentials) > 0, ClientCertificate: n.ClientCertificate,
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		e.Listen = server.Listen
	}
	a.endpoints, a.guards = append(a.endpoints, e), append(a.guards, n.gate.guard)
}
