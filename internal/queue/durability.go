// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Durability is what it means that [Queue.Accept] returned without an error.
type Durability string

// The levels of durability.
const (
	// OnDisk means that each server that keeps the notification has synced it.
	OnDisk Durability = "disk"
	// OnReplicas means that three servers or more have it, and sync later.
	OnReplicas Durability = "replicas"
	// InMemory means that one server has it, and syncs later.
	InMemory Durability = "memory"
	// Unknown means that one server has it, and nobody said when it syncs.
	Unknown Durability = "unknown"
	// AnyDurability demands nothing.
	AnyDurability Durability = "any"
)

const (
	inspectInterval = 2 * time.Minute
	// inspectSoon is the interval while less is promised than demanded.
	inspectSoon    = 5 * time.Second
	inspectTimeout = 10 * time.Second
	askTimeout     = 2 * time.Second
	// enoughReplicas is from how many replicas on the loss of the power of one
	// server loses nothing.
	enoughReplicas = 3
)

// SyncAlways says that servers sync before they answer.
const SyncAlways = time.Duration(-1)

var errNotInspected = errors.New("what the NATS servers promise is not known yet")

// Inspection is what was found out about the store.
type Inspection struct {
	Durability Durability
	// Demanded is what it has to be at least.
	Demanded Durability
	// Replicas is how many servers keep each notification.
	Replicas int
	// Reason is one sentence on how Durability was found.
	Reason string
	// Problems are sentences on what an operator has to do.
	Problems []string
	// Checked is when.
	Checked time.Time
}

// short is the error of a queue that promises less than it has to.
func (i *Inspection) short() error {
	if i.Demanded == AnyDurability || i.Durability == OnDisk || i.Durability == i.Demanded {
		return nil
	}
	return fmt.Errorf("%w: durability %s is demanded, and the NATS servers give %s: %s", ErrDurability, i.Demanded, i.Durability, i.Reason)
}

// Inspect returns the result of the last inspection; nil if there was none yet.
func (q *Queue) Inspect() *Inspection {
	if q.server == nil {
		return q.inspection.Load()
	}
	q.change.RLock()
	defer q.change.RUnlock()
	i := &Inspection{Durability: OnDisk, Demanded: AnyDurability, Replicas: 1, Checked: time.Now(), Reason: "this server syncs before it answers"}
	if sync := q.settings.Embedded.Sync; sync > 0 {
		i.Durability, i.Reason = InMemory, fmt.Sprintf("this server syncs every %s", sync)
	}
	return i
}

// promised returns an error while the store promises less than is demanded.
func (q *Queue) promised() error {
	if q.server != nil || q.demand() == AnyDurability {
		return nil
	}
	i := q.inspection.Load()
	if i == nil {
		return errNotInspected
	}
	return i.short()
}

func (q *Queue) demand() Durability {
	if d := q.settings.External.Durability; d != "" {
		return d
	}
	return OnReplicas
}

// inspectLoop inspects the external store when it is prepared, and now and then.
func (q *Queue) inspectLoop() {
	for {
		wait := inspectSoon
		if q.isReady() {
			ctx, cancel := context.WithTimeout(q.ctx, inspectTimeout)
			err := q.inspect(ctx)
			cancel()
			if err == nil && q.promised() == nil {
				wait = inspectInterval
			}
			if err != nil {
				q.log.Debug("could not find out what the NATS servers promise", "error", err)
			}
		}
		select {
		case <-q.ctx.Done():
			return
		case <-q.reinspect:
		case <-time.After(wait):
		}
	}
}

func (q *Queue) wakeInspection() {
	select {
	case q.reinspect <- struct{}{}:
	default:
	}
}

func (q *Queue) inspect(ctx context.Context) error {
	if was := q.inspection.Load(); was != nil && was.short() != nil {
		q.verifyReplicas()
	}
	i := &Inspection{Demanded: q.demand(), Checked: time.Now()}
	peers, file := make(map[string]bool), true
	for _, name := range []string{q.names.stream, q.names.parkedStream, q.names.deadStream} {
		stream, err := q.js().Stream(ctx, name)
		if err != nil {
			return err
		}
		info := stream.CachedInfo()
		if i.Replicas == 0 || info.Config.Replicas < i.Replicas {
			i.Replicas = info.Config.Replicas
		}
		file = file && info.Config.Storage == jetstream.FileStorage
		if c := info.Cluster; c != nil {
			peers[c.Leader] = true
			for _, p := range c.Replicas {
				peers[p.Name] = true
			}
		}
	}
	delete(peers, "")
	if len(peers) == 0 {
		peers[q.nc().ConnectedServerName()] = true
	}
	i.Durability, i.Reason = q.level(ctx, i.Replicas, peers, file)
	i.Problems = q.problems(ctx, i)
	old := q.inspection.Swap(i)
	q.logInspection(old, i)
	return nil
}

// level finds how durable what peers keep is.
func (q *Queue) level(ctx context.Context, replicas int, peers map[string]bool, file bool) (Durability, string) {
	copies := "one server keeps each notification"
	if replicas > 1 {
		copies = fmt.Sprintf("%d servers keep each notification", replicas)
	}
	syncs, source := q.syncs(ctx, peers)
	always, lazy, unknown := 0, 0, 0
	for name := range peers {
		switch interval, known := syncs[name]; {
		case !known:
			unknown++
		case interval == SyncAlways:
			always++
		default:
			lazy++
		}
	}
	switch {
	case file && always == len(peers):
		return OnDisk, copies + ", and syncs before it answers, " + source
	case replicas >= enoughReplicas:
		return OnReplicas, copies + ", and at least one may sync later"
	case lazy > 0 || !file:
		return InMemory, copies + ", and syncs later, " + source + ": set sync_interval: always in the jetstream block of its configuration, or have three servers and replicas 3"
	default:
		return Unknown, copies + ", and when it syncs is not known: have three servers and replicas 3, or set sync_interval: always in the jetstream block of its configuration, and say so with sync_interval always, or name its monitoring endpoint"
	}
}

// syncs finds when the servers with these names sync, and how it was found.
func (q *Queue) syncs(ctx context.Context, peers map[string]bool) (syncs map[string]time.Duration, source string) {
	syncs = make(map[string]time.Duration)
	cfg := q.settings.External
	if cfg.SyncInterval != 0 {
		for name := range peers {
			syncs[name] = cfg.SyncInterval
		}
		return syncs, "as sync_interval in the Caddyfile says"
	}
	for _, url := range cfg.Monitoring {
		if s, err := askMonitoring(ctx, url); err == nil {
			syncs[s.name()] = s.interval()
		} else {
			q.log.Debug("could not ask the monitoring endpoint of a NATS server", "url", url, "error", err)
		}
	}
	if len(syncs) > 0 {
		return syncs, "as its monitoring endpoint says"
	}
	for _, s := range q.askSystem(ctx, len(peers)) {
		syncs[s.name()] = s.interval()
	}
	return syncs, "as $SYS says"
}

// serverSync is what a server says about itself, at /varz and by $SYS.
type serverSync struct {
	ServerName string `json:"server_name"`
	JetStream  struct {
		Config *syncConfig `json:"config"`
	} `json:"jetstream"`
	Server struct {
		Name string `json:"name"`
	} `json:"server"`
	Data struct {
		Config *syncConfig `json:"config"`
	} `json:"data"`
}

type syncConfig struct {
	SyncInterval time.Duration `json:"sync_interval"`
	SyncAlways   bool          `json:"sync_always"`
}

func (s *serverSync) name() string { return s.ServerName + s.Server.Name }

func (s *serverSync) interval() time.Duration {
	c := s.JetStream.Config
	if c == nil {
		c = s.Data.Config
	}
	switch {
	case c == nil: // no JetStream: it keeps nothing
		return 0
	case c.SyncAlways:
		return SyncAlways
	default:
		return c.SyncInterval
	}
}

// maxAnswer bounds what a monitoring endpoint may answer, in bytes.
const maxAnswer = 1 << 20

func askMonitoring(ctx context.Context, url string) (*serverSync, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(url, "/")+"/varz", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	s := new(serverSync)
	return s, json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(s)
}

// askSystem asks the system account, which few users may. Then nobody answers.
func (q *Queue) askSystem(ctx context.Context, servers int) (all []*serverSync) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	nc := q.nc()
	sub, err := nc.SubscribeSync(nc.NewInbox())
	if err != nil {
		return nil
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest("$SYS.REQ.SERVER.PING.JSZ", sub.Subject, nil); err != nil {
		return nil
	}
	for len(all) < servers {
		msg, err := sub.NextMsgWithContext(ctx)
		if err != nil {
			return all
		}
		s := new(serverSync)
		if err := json.Unmarshal(msg.Data, s); err == nil && s.name() != "" {
			all = append(all, s)
		}
	}
	return all
}

// problems finds what an operator should change.
func (q *Queue) problems(ctx context.Context, i *Inspection) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if err := i.short(); err != nil {
		say("%v", err)
	}
	nc := q.nc()
	if version := nc.ConnectedServerVersion(); olderThan(version, 2, 11) {
		say("the NATS server %s has version %s: 2.11 or later is needed", nc.ConnectedServerName(), version)
	}
	if size := q.conn.Load().maxPayload.Load(); size < wantedPayload {
		say("max_payload of the NATS servers is %d bytes: a notification of 6 MiB, which max_body allows unless it is set, needs %d", size, int64(wantedPayload))
	}
	if info, err := q.js().AccountInfo(ctx); err == nil {
		q.change.RLock()
		need := 3 * q.settings.MaxBytes
		q.change.RUnlock()
		limits := info.Limits
		for _, tier := range info.Tiers {
			limits = tier.Limits
		}
		if len(info.Tiers) == 0 {
			need *= int64(i.Replicas)
		}
		if limits.MaxStore > 0 && limits.MaxStore < need {
			say("the account may store %d bytes: the queue needs up to %d (three streams of max_bytes, in each of their replicas)", limits.MaxStore, need)
		}
	}
	if err := q.checkPermissions(ctx); err != nil {
		say("could not check the permissions: %v", err)
	}
	if err := q.checkAcknowledgement(ctx); err != nil {
		say("an acknowledgement does not arrive, so notifications are delivered again and again: %v", err)
	}
	for _, subject := range q.denied.list() {
		say("the NATS account may not %s: the queue needs it", subject)
	}
	return all
}

// wantedPayload is what the largest notification needs, unless max_body is set:
// its body as it came, and what is known about it.
const wantedPayload = 6<<20 + 64<<10

func olderThan(version string, major, minor int) bool {
	var a, b int
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "%d.%d", &a, &b); err != nil {
		return false
	}
	return a < major || a == major && b < minor
}

// logInspection says in the log what changed.
func (q *Queue) logInspection(old, is *Inspection) {
	if old == nil || old.Durability != is.Durability || old.Reason != is.Reason {
		q.log.Info("what a notification that was accepted is safe against", "durability", is.Durability, "replicas", is.Replicas, "reason", is.Reason)
	}
	for _, p := range is.Problems {
		if old == nil || !slices.Contains(old.Problems, p) {
			q.log.Error("the queue on NATS has a problem", "problem", p)
		}
	}
}

// explain says in plain words what JetStream answers.
func explain(err error) error {
	if errors.Is(err, jetstream.ErrJetStreamNotEnabled) || errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) {
		return fmt.Errorf("JetStream is off on the NATS server, or for this account: give its configuration a jetstream block: %w", err)
	}
	return err
}
