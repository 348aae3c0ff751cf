// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	dto "github.com/prometheus/client_model/go"
)

// Status is what GET /dovecot_push/status answers: how the running app is.
type Status struct {
	// When the process started: the counts begin there.
	Since time.Time `json:"since"`
	// The notify endpoints.
	Endpoints []EndpointStatus `json:"endpoints"`
	// What came of the requests to them, by result.
	Requests map[string]uint64 `json:"requests"`
	// Requests that were refused because of where they came from, by reason.
	Refused map[string]uint64 `json:"refused"`
	Queue   QueueStatus       `json:"queue"`
	Targets []TargetStatus    `json:"targets"`
	// The endpoints of the DoveAdm connector.
	DoveAdm []DoveAdmStatus `json:"doveadm,omitempty"`
	// Nothing where users are not registered from here.
	Registration *RegistrationStatus `json:"registration,omitempty"`
	// Nothing without Web Push.
	Devices *DevicesStatus `json:"devices,omitempty"`
	// How many event streams are open. Nothing without an API.
	Streams *int `json:"streams,omitempty"`
}

// DevicesStatus is how many devices are subscribed.
type DevicesStatus struct {
	Confirmed   int `json:"confirmed"`
	Unconfirmed int `json:"unconfirmed"`
}

// EndpointStatus is one notify endpoint.
type EndpointStatus struct {
	// Where its server listens.
	Listen []string `json:"listen"`
	Path   string   `json:"path"`
	// Whether nobody may come in, because no network is allowed; or everybody
	// on the Internet, because all are.
	Nobody    bool `json:"nobody"`
	Everybody bool `json:"everybody"`
	// Whether it asks for credentials, a client certificate, or nothing.
	Credentials       bool   `json:"credentials"`
	ClientCertificate string `json:"client_certificate,omitempty"`
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
	// What the disk has left, where the queue is on one of this machine.
	DiskFree *uint64 `json:"disk_free,omitempty"`
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
	// Attempts under way.
	InFlight int `json:"in_flight"`
	// Attempts since the process started, by outcome.
	Attempts map[string]uint64 `json:"attempts"`
	// When the oldest notification that is being worked on was accepted.
	Oldest *time.Time `json:"oldest,omitempty"`
}

// processStart is when the counters began.
var processStart = time.Now()

// DoveAdmStatus is one endpoint of the DoveAdm HTTP API.
type DoveAdmStatus struct {
	// Host and port.
	Endpoint string `json:"endpoint"`
	// Whether commands go to it, and if not, why, and since when.
	Up    bool       `json:"up"`
	Error string     `json:"error,omitempty"`
	Since *time.Time `json:"since,omitempty"`
}

func getStatus(a *App, r *http.Request) (any, error) {
	return a.status(r.Context()), nil
}

func (a *App) status(ctx context.Context) Status {
	status := Status{
		Since: processStart, Endpoints: a.endpoints,
		Requests: counts(notifyRequests, "result"), Refused: counts(guardRefused, "reason"),
		Queue: QueueStatus{MaxBytes: a.Queue.MaxBytes}, Targets: []TargetStatus{}, DoveAdm: a.doveadmStatus(),
	}
	if free, known := a.diskFree(); known {
		status.Queue.DiskFree = &free
	}
	status.Registration, status.Devices, status.Streams = a.registrationStatus(), a.devicesStatus(), a.streamsStatus()
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
		t, engine := stats.Targets[name], a.engine.Status(name)
		target := TargetStatus{
			Name: name, Up: !engine.Down, InFlight: engine.InFlight,
			Waiting: t.Waiting, Parked: t.Parked, DeadLetters: t.Dead,
			Attempts: counts(attempts, "outcome", "target", name),
		}
		if !engine.Oldest.IsZero() {
			target.Oldest = &engine.Oldest
		}
		status.Targets = append(status.Targets, target)
	}
	slices.SortFunc(status.Targets, func(a, b TargetStatus) int { return strings.Compare(a.Name, b.Name) })
	return status
}

// devicesStatus is nil without Web Push, and before it has started.
func (a *App) devicesStatus() *DevicesStatus {
	w := a.webpush()
	if w == nil {
		return nil
	}
	select {
	case <-w.started:
	default:
		return nil
	}
	all, confirmed := w.store.Count()
	return &DevicesStatus{Confirmed: confirmed, Unconfirmed: all - confirmed}
}

// streamsStatus is nil where there are no event streams.
func (a *App) streamsStatus() *int {
	if !slices.ContainsFunc(a.targets, func(t Target) bool { _, ok := t.(*streams); return ok }) {
		return nil
	}
	var m dto.Metric
	if err := streamsOpen.Write(&m); err != nil {
		return nil
	}
	open := int(m.GetGauge().GetValue())
	return &open
}

// strangers are addresses that nobody has (RFC 5737, RFC 3849): no network
// that is allowed for good reason holds them.
var strangers = [2]netip.Addr{netip.MustParseAddr("203.0.113.77"), netip.MustParseAddr("2001:db8:77::1")}

// addEndpoint notes a notify endpoint, while the configuration is provisioned.
func (a *App) addEndpoint(ctx caddy.Context, n *Notify) {
	allow := n.gate.guard.Allow
	e := EndpointStatus{
		Path:        n.Path,
		Nobody:      allow.Len() == 0 && len(n.gate.guard.Sources) == 0,
		Everybody:   allow.Contains(strangers[0]) || allow.Contains(strangers[1]),
		Credentials: len(n.Credentials) > 0, ClientCertificate: n.ClientCertificate,
	}
	if server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok {
		e.Listen = server.Listen
	}
	a.endpoints = append(a.endpoints, e)
}
