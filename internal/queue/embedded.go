// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gofrs/flock"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// ErrLocked means that another process has the directory of the queue open.
var ErrLocked = errors.New("queue directory is in use by another process")

const (
	// embeddedMaxPayload is the largest message the embedded server accepts: a
	// notification of [MaxBody] with what is stored beside it.
	embeddedMaxPayload = MaxBody + 64<<10
	// probeSize is how much space the disk must have again after it was full.
	probeSize = 1 << 20
	// healthTimeout is how long the server may take to say whether it is
	// healthy. It takes longer while the disk hangs.
	healthTimeout = time.Second
)

// Embedded is a store in this process.
type Embedded struct {
	// Path is the directory. If it does not exist, it is created, readable by
	// its owner only.
	Path string
	// Sync is how often accepted notifications are synced to disk. 0 means
	// always, before Accept returns.
	Sync time.Duration
}

// embeddedServer owns the directory's lock and the NATS server on it.
type embeddedServer struct {
	log    *slog.Logger
	lock   *flock.Flock
	server atomic.Pointer[server.Server]
	syncer syncer
	damage *damage
	files  fileIdentities
	// health is the answer to a question that still hangs; for repairLoop, and
	// for close after that.
	health chan bool
}

func startEmbedded(cfg Embedded, log *slog.Logger, damage *damage) (*embeddedServer, error) {
	e := &embeddedServer{log: log, damage: damage, lock: flock.New(filepath.Join(cfg.Path, "lock"))}
	if err := e.lockDirectory(cfg); err != nil {
		return nil, err
	}
	if err := e.start(cfg); err != nil {
		return nil, errors.Join(err, e.close())
	}
	return e, nil
}

// lockDirectory makes the directory if it does not exist, and takes its lock.
func (e *embeddedServer) lockDirectory(cfg Embedded) error {
	if err := os.MkdirAll(cfg.Path, 0o700); err != nil {
		return fmt.Errorf("making the queue directory: %w", err)
	}
	locked, err := e.lock.TryLock()
	if err != nil {
		return fmt.Errorf("locking the queue directory: %w", err)
	}
	if !locked {
		return fmt.Errorf("%w: %s (is another Caddy running with the same queue path? give each its own)", ErrLocked, cfg.Path)
	}
	e.files.reset()
	return nil
}

func (e *embeddedServer) start(cfg Embedded) error {
	if err := accessible(filepath.Join(cfg.Path, "jetstream")); err != nil {
		return fmt.Errorf("checking the files of the queue: %w (do all in %s belong to the user that Caddy runs as, and is the disk writable?)", err, cfg.Path)
	}
	if err := e.inspect(); err != nil {
		return fmt.Errorf("looking after the files of the queue in %s (is it writable, and the disk not full?): %w", cfg.Path, err)
	}
	opts := &server.Options{
		ServerName: "dovecot_push",
		DontListen: true,
		NoSigs:     true,
		MaxPayload: embeddedMaxPayload,

		JetStream: true,
		StoreDir:  cfg.Path,
		// The streams have limits of their own. Without these two the server
		// would reserve them against the disk and memory it sees at start.
		JetStreamMaxStore:  1 << 60,
		JetStreamMaxMemory: 1 << 30,
		SyncAlways:         cfg.Sync == 0,
		SyncInterval:       cfg.Sync,

		DisableJetStreamBanner: true,
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return fmt.Errorf("setting up the embedded store: %w", err)
	}
	log := &natsLogger{log: e.log}
	s.SetLoggerV2(log, false, false, false)
	s.Start()
	// Start has repaired and opened everything when it returns, or failed: it
	// says that JetStream is enabled also where its directory was no good.
	if log.fatal != nil || !s.JetStreamEnabled() {
		s.Shutdown()
		s.WaitForShutdown()
		return fmt.Errorf("opening the queue in %s (is it writable, and the disk not full?): %w", cfg.Path, log.fatal)
	}
	e.server.Store(s)
	return nil
}

// accessible returns an error if there is a file in the directory that cannot be
// read and written: such as one that Caddy wrote when somebody ran it as root.
// The server would leave out the stream that it belongs to, and the positions of
// the targets would be lost when that is made again.
func accessible(directory string) error {
	return filepath.WalkDir(directory, func(path string, entry os.DirEntry, err error) error {
		if errors.Is(err, os.ErrNotExist) || err == nil && !entry.Type().IsRegular() {
			return nil
		}
		if err != nil {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0) //nolint:gosec // nobody else makes links there
		if err != nil {
			return err
		}
		return f.Close()
	})
}

func (e *embeddedServer) stop() {
	if s := e.server.Swap(nil); s != nil {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// restart opens the store again. The directory may be another than before: it
// was removed or replaced while the server had it open.
func (e *embeddedServer) restart(cfg Embedded) error {
	e.stop()
	if e.files.same(e.lock.Path()) {
		e.files.reset()
		return e.start(cfg)
	}
	e.log.Error("the queue directory was removed or replaced while it was in use: what waited in it is lost, the queue goes on with an empty one", "path", cfg.Path)
	if err := e.lock.Close(); err != nil {
		return fmt.Errorf("unlocking the queue directory: %w", err)
	}
	if err := e.lockDirectory(cfg); err != nil {
		return err
	}
	return e.start(cfg)
}

func (e *embeddedServer) close() error {
	e.stop()
	if e.health != nil {
		<-e.health
	}
	return e.lock.Close()
}

// errDiskHangs means that the disk neither works nor fails.
var errDiskHangs = errors.New("the disk does not answer")

// check reports whether the store is healthy, or returns [errDiskHangs]: who
// asks waits for locks that are held while the disk does something.
func (e *embeddedServer) check(streams, others []string) (healthy bool, err error) {
	before := e.health
	if before == nil {
		answer := make(chan bool, 1)
		go func() { answer <- e.healthy(streams) && e.writable(others) }()
		e.health = answer
	}
	late := time.NewTimer(healthTimeout)
	defer late.Stop()
	select {
	case healthy = <-e.health:
		e.health = nil
	case <-late.C:
		return false, errDiskHangs
	}
	if before != nil { // it was asked a while ago
		return e.check(streams, others)
	}
	return healthy, nil
}

// healthy reports whether these streams are open and can be written. After a
// write that failed, because the disk was full or read-only, a stream takes no
// further ones, and answers nothing, until it is reopened.
func (e *embeddedServer) healthy(streams []string) bool {
	return e.states(streams, func(status int) bool { return status == http.StatusOK })
}

// writable reports the same of streams that need not be there.
func (e *embeddedServer) writable(streams []string) bool {
	return e.states(streams, func(status int) bool { return status == http.StatusOK || status == http.StatusNotFound })
}

func (e *embeddedServer) states(streams []string, good func(status int) bool) bool {
	s := e.server.Load()
	if s == nil || !s.JetStreamEnabled() || !e.files.same(e.lock.Path()) {
		return false
	}
	for _, stream := range streams {
		// Not a directory within it: the server replaces that of the messages
		// when it removes all of them.
		if !e.files.same(filepath.Join(e.streams(), stream)) {
			return false
		}
		// Healthz fails as well when it is held up for a millisecond; a busy
		// machine must not look like a broken disk.
		ok := false
		for try := 0; try < 3 && !ok; try++ {
			ok = good(s.Healthz(&server.HealthzOptions{Account: server.DEFAULT_GLOBAL_ACCOUNT, Stream: stream}).StatusCode)
		}
		if !ok {
			return false
		}
	}
	return true
}

// probe fails while the disk takes no writes: to reopen the store would
// help for one write at most.
func (e *embeddedServer) probe() (err error) {
	if err := os.MkdirAll(filepath.Dir(e.lock.Path()), 0o700); err != nil { // it may have been removed
		return err
	}
	f, err := os.Create(filepath.Join(filepath.Dir(e.lock.Path()), "probe"))
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	}()
	if _, err := f.Write(make([]byte, probeSize)); err != nil {
		return err
	}
	return f.Sync()
}

// streams is the directory that has one for each stream.
func (e *embeddedServer) streams() string {
	return filepath.Join(filepath.Dir(e.lock.Path()), "jetstream", server.DEFAULT_GLOBAL_ACCOUNT, "streams")
}

// persist brings what is there of a stream to the disk.
func (e *embeddedServer) persist(stream string) error {
	return e.syncer.persist(filepath.Join(e.streams(), stream))
}

func (e *embeddedServer) connect(opts ...nats.Option) (*nats.Conn, error) {
	return nats.Connect("", append(opts,
		nats.InProcessServer(e),
		nats.ReconnectWait(10*time.Millisecond),
		nats.ReconnectJitter(0, 0),
	)...)
}

// InProcessConn lets the client reconnect to the server that replaced the one
// it was connected to.
func (e *embeddedServer) InProcessConn() (net.Conn, error) {
	if s := e.server.Load(); s != nil {
		return s.InProcessConn()
	}
	return nil, nats.ErrNoServers
}

// natsLogger passes on the server's logs. Its notices have the level debug:
// they do not concern an operator of the module.
type natsLogger struct {
	log   *slog.Logger
	fatal error // why the server did not start
}

func (l *natsLogger) Noticef(format string, v ...any) { l.log.Debug("nats: " + sprintf(format, v)) }
func (l *natsLogger) Errorf(format string, v ...any)  { l.log.Error("nats: " + sprintf(format, v)) }
func (l *natsLogger) Fatalf(format string, v ...any)  { l.fatal = errors.New(sprintf(format, v)) }
func (*natsLogger) Debugf(string, ...any)             {}
func (*natsLogger) Tracef(string, ...any)             {}

func (l *natsLogger) Warnf(format string, v ...any) {
	if strings.HasPrefix(format, "Maximum payloads over") {
		return // embeddedMaxPayload is a little more than NATS advises, and on purpose
	}
	l.log.Warn("nats: " + sprintf(format, v))
}

func sprintf(format string, v []any) string {
	return strings.TrimSpace(fmt.Sprintf(format, v...))
}
