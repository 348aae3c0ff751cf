// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package queue stores accepted notifications until every target has them.
//
// [Queue.Accept] returns when a [Record] is durable. Each target reads groups
// of records at its own pace, through a [Reader]. A record that fails for one
// target is parked ([Queue.Park]) for a later attempt, or becomes a dead letter
// ([Queue.DeadLetter]).
//
// NATS JetStream does the storing: an embedded server in this process that
// opens no port ([Config.Embedded]), or an external cluster
// ([Config.External]). There are three streams:
//
//	<prefix>         subject <prefix>.in.<count>: groups of <count> accepted
//	                 records. One durable consumer per target; a group is
//	                 removed soon after all of them have acknowledged it.
//	                 Full means that nothing more is accepted; what is
//	                 stored is never dropped.
//	<prefix>_parked  subject <prefix>.parked.<target>.<count>: groups of
//	                 <count> records waiting for their next attempt, with
//	                 attempts and due time in the headers. Removed when
//	                 acknowledged.
//	<prefix>_dead    subject <prefix>.dead.<target>: records a target gave up
//	                 on, kept for [deadLetterAge].
//
// Durability: Accept returns after JetStream has acknowledged the group. With
// "sync always" that is after the fsync. Otherwise the operating system has the
// group, and the fsync follows within the interval: a crash of the process
// loses nothing, a crash of the machine may lose the last interval.
//
// After a crash between a delivery and its acknowledgement, the notification is
// delivered again: delivery is at least once.
package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of Accept, Park and DeadLetter.
var (
	// ErrFull means that max_bytes, or the space JetStream may use, is
	// exhausted. Room appears as targets acknowledge.
	ErrFull = errors.New("queue is full")
	// ErrUnavailable means that the store cannot be written right now: the
	// disk is full or read-only, the NATS cluster cannot be reached, or a
	// write took too long.
	ErrUnavailable = errors.New("queue is not available")
	// ErrDurability, which is an [ErrUnavailable] as well, means that the NATS
	// servers promise less than [External.Durability] demands.
	ErrDurability = errors.New("the NATS servers promise too little")
	// ErrTooLarge means that one notification is larger than a message of
	// the store may be (NATS max_payload).
	ErrTooLarge = errors.New("notification is too large for the queue")
	// ErrClosed means that the queue was closed.
	ErrClosed = errors.New("queue is closed")
)

var (
	errNotReady    = errors.New("the store is not ready")
	errStoreFailed = errors.New("the store failed")
	errSilent      = errors.New("the NATS server does not answer")
)

// MaxBody is the largest body of a notification that the embedded store
// accepts, in bytes.
const MaxBody = 8 << 20

// DefaultPrefix starts the names of streams and subjects.
const DefaultPrefix = "dovecot_push"

// deadLetterAge is how long dead letters are kept for inspection and replay.
var deadLetterAge = 30 * 24 * time.Hour

// Config configures a queue.
type Config struct {
	// Embedded is the store in this process; External is one elsewhere.
	// Exactly one of them is set.
	Embedded *Embedded
	External *External
	// Prefix starts the names of streams and subjects. Default:
	// [DefaultPrefix].
	Prefix string
	// MaxBytes is how much the accepted notifications may take on disk.
	// The parked ones and the dead letters may take as much each.
	MaxBytes int64
	// MaxAge is how long notifications are kept for a target that is no
	// longer in use.
	MaxAge time.Duration
	// Journals are the names of the journals that must cover a group before it
	// is removed, unless the queue is full and they are not written
	// ([Queue.Journal]).
	Journals []string
	// Logger gets what an operator should know. Required.
	Logger *slog.Logger
	// Observe, if set, is called for every write with the number of
	// notifications in the group, the time it took, and the error.
	Observe func(notifications int, took time.Duration, err error)
}

// Queue is an open queue. It is safe for concurrent use.
type Queue struct {
	names   names
	log     *slog.Logger
	observe observer

	batcher *batcher
	shared  *shared // nil if the store is embedded

	// conn is replaced when nats.go has closed it for good.
	conn atomic.Pointer[connection]
	// server is nil if the store is external.
	server *embeddedServer
	// connectErr is why an external one could not be connected to.
	connectErr atomic.Pointer[error]

	// settings is guarded by change, which also makes writes wait while the
	// store is reopened.
	change   sync.RWMutex
	settings Config
	// available is whether the store takes writes.
	available *availability
	targets   map[string]int // how often each is in use
	// prepared is false until the streams, and the consumers of the targets in
	// use, were seen once.
	prepared atomic.Bool
	// inspection is the last one; nil before the first, and where the store is
	// embedded.
	inspection atomic.Pointer[Inspection]
	reinspect  chan struct{}
	denied     denials
	// autoReplicas is how many replicas there are where nobody said how many.
	autoReplicas atomic.Int32
	// unverified is whether some of them may have been lost since then.
	unverified atomic.Bool
	// reached is the number of the last group that is known to be stored.
	reached atomic.Uint64
	// configured are the targets that were put in use last, which belong
	// together; guarded by change. known are those that have had a position.
	configured []string
	known      sync.Map
	full       atomic.Bool // a write was refused for lack of room
	acked      atomic.Bool // there may be something that all targets have
	trimming   trimming
	lateAcks   lateAcks // of an external store
	wake       chan struct{}
	damage     damage
	// journals are those that must cover what is removed.
	journals journals

	// others are the streams of tables and logs in use.
	others struct {
		sync.Mutex
		streams []string
	}

	// ctx ends when Close has written everything that was submitted.
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

type names struct {
	stream, in         string
	parkedStream, park string
	deadStream, dead   string
}

// parkedSuffix ends the name of the stream of parked records.
const parkedSuffix = "_parked"

func namesOf(prefix string) names {
	return names{
		stream: prefix, in: prefix + ".in",
		parkedStream: prefix + parkedSuffix, park: prefix + ".parked",
		deadStream: prefix + "_dead", dead: prefix + ".dead",
	}
}

type observer func(int, time.Duration, error)

func (o observer) commit(n int, took time.Duration, err error) {
	if o != nil {
		o(n, took, err)
	}
}

var validPrefix = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// ValidName reports whether s can name a target or a prefix: 1 to 64 of A–Z a–z
// 0–9 _ and -, because it becomes part of NATS subjects and names.
func ValidName(s string) bool { return validPrefix.MatchString(s) }

// Open opens the queue.
//
// An embedded store is opened, repaired after a crash, and ready when Open
// returns; it fails if the directory cannot be written or another process has
// it open ([ErrLocked]). An external one is connected to in the background,
// so that a mail system can start while its NATS cluster cannot be reached:
// until then Accept fails with [ErrUnavailable].
func Open(ctx context.Context, cfg Config) (*Queue, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = DefaultPrefix
	}
	if !ValidName(cfg.Prefix) {
		return nil, errors.New("queue prefix must be 1 to 64 of A-Z a-z 0-9 _ -")
	}
	if (cfg.Embedded == nil) == (cfg.External == nil) {
		return nil, errors.New("queue needs either an embedded or an external store")
	}
	q := &Queue{
		names:     namesOf(cfg.Prefix),
		log:       cfg.Logger,
		observe:   cfg.Observe,
		settings:  cfg,
		targets:   make(map[string]int),
		wake:      make(chan struct{}, 1),
		reinspect: make(chan struct{}, 1),
	}
	if cfg.External != nil {
		q.shared = newShared()
	}
	q.batcher = newBatcher(q.shared)
	q.journals.keep(q, cfg.Journals)
	q.ctx, q.cancel = context.WithCancel(context.WithoutCancel(ctx))
	q.available = newAvailability(q.ctx)
	if err := q.open(ctx); err != nil {
		q.cancel()
		return nil, errors.Join(err, q.disconnect())
	}
	q.acked.Store(true)
	q.wg.Go(q.repairLoop)
	q.wg.Go(q.trimLoop)
	if q.server == nil {
		q.wg.Go(q.inspectLoop)
		q.wg.Go(q.ackLoop)
		q.wg.Go(q.followLoop)
	}
	q.wg.Go(func() {
		q.commitLoop()
		q.cancel()
	})
	return q, nil
}

// open opens the embedded store, or starts to connect to the external one.
func (q *Queue) open(ctx context.Context) (err error) {
	if cfg := q.settings.Embedded; cfg != nil {
		if q.server, err = startEmbedded(*cfg, q.log, &q.damage); err != nil {
			return err
		}
	}
	if err := q.connect(); err != nil || q.server == nil {
		return err
	}
	return q.prepare(ctx)
}

// Close writes what was submitted, then closes the store. Accept fails with
// [ErrClosed] from then on.
func (q *Queue) Close() error {
	if !q.batcher.close() {
		return nil
	}
	q.wg.Wait()
	return q.disconnect()
}

// Reconcile applies the settings of a new configuration to the open queue:
// MaxBytes, MaxAge, Journals and how often it syncs. Everything else is the queue's identity.
// Writes wait meanwhile; none fails for it.
func (q *Queue) Reconcile(ctx context.Context, cfg Config) error {
	q.change.Lock()
	defer q.change.Unlock()
	old := q.settings
	q.settings.MaxAge = cfg.MaxAge
	q.journals.keep(q, cfg.Journals)
	reopen := q.server != nil && cfg.Embedded.Sync != old.Embedded.Sync
	if !reopen && cfg.MaxBytes == old.MaxBytes {
		return nil
	}
	q.settings.MaxBytes = cfg.MaxBytes
	if reopen {
		q.settings.Embedded = cfg.Embedded
		if err := q.restart(ctx, *cfg.Embedded); err != nil {
			return fmt.Errorf("opening the queue with its new settings: %w", err)
		}
	}
	if err := q.reconnect(); err != nil {
		return fmt.Errorf("opening the queue with its new settings: %w", err)
	}
	if q.server == nil && !q.nc().IsConnected() {
		return nil // repairLoop applies it when the cluster can be reached
	}
	return q.prepare(ctx)
}

// maxRecord is the size of the largest group the store takes, in bytes.
func (q *Queue) maxRecord() int {
	const headroom = 1 << 10 // subject and headers count for NATS as well
	size := q.conn.Load().maxPayload.Load()
	if size <= 0 { // never connected yet
		size = embeddedMaxPayload
	}
	return int(size) - headroom
}

func (q *Queue) isReady() bool { return q.available.is.Load() }
