// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/internal/catchup"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Defaults of the queue.
const (
	defaultMaxAge   = 24 * time.Hour
	defaultMaxBytes = 1 << 30
)

// Queue is where accepted notifications are kept until every target has them.
// Dovecot gets its answer when they are stored here.
type Queue struct {
	// A store in this process and on this machine. It is the default; at most
	// one of `embedded` and `nats` is set.
	Embedded *EmbeddedQueue `json:"embedded,omitempty"`

	// A NATS server or cluster with JetStream, shared by several Caddys.
	NATS *NATSQueue `json:"nats,omitempty"`

	// How long after its acceptance a notification is still delivered.
	// After that it becomes a dead letter. Default: 24h.
	MaxAge caddy.Duration `json:"max_age,omitempty"`

	// How many bytes accepted notifications may take in the store. Parked
	// notifications and dead letters may each take as much. At the limit,
	// notifications are answered with 503, and nothing stored is dropped.
	// Default: 1 GiB (some two million notifications).
	MaxBytes int64 `json:"max_bytes,omitempty"`

	tls   *tls.Config
	syncs time.Duration // sync_interval of the NATS servers, if stated
	// access stands for the secrets and the files of certificates as they were
	// read: one that was rotated makes a connection of its own.
	access [sha256.Size]byte
}

// EmbeddedQueue is a store in this process. No port is opened for it.
type EmbeddedQueue struct {
	// The directory, on a local disk. Placeholders are replaced. Only one
	// process can have it open. Default: the directory dovecot_push in
	// Caddy's data directory.
	Path string `json:"path,omitempty"`

	// How often accepted notifications are synced to disk. 0, the default,
	// means always, before Dovecot gets its answer. With an interval, a crash
	// of the machine can lose the last interval's notifications. A crash of
	// Caddy loses nothing either way.
	Sync caddy.Duration `json:"sync,omitempty"`
}

// NATSQueue is a store on a NATS server or cluster (2.11 or later) with
// JetStream. What 200 means there is decided by the servers' sync_interval and
// by the number of replicas; `durability` demands one of its levels.
type NATSQueue struct {
	// The servers: nats://host:4222 or tls://host:4222. Placeholders are
	// replaced. Credentials do not belong here.
	URLs []string `json:"urls"`

	// A .creds file with JWT and key. Placeholders are replaced.
	CredentialsFile string `json:"credentials_file,omitempty"`

	// User name and password, the alternative to a file. Placeholders are
	// replaced; the password must be one: {env.*} or {file.*}.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// A token, another alternative. It must be a placeholder.
	Token string `json:"token,omitempty"`

	// A PEM file with the certificates of the CAs that the servers'
	// certificates are verified with. Default: those of the operating system.
	CAFile string `json:"ca_file,omitempty"`

	// PEM files with the client certificate for the servers and its key.
	ClientCertFile string `json:"client_cert_file,omitempty"`
	ClientKeyFile  string `json:"client_key_file,omitempty"`

	// How many servers of the cluster store each notification: 1, 3 or 5.
	// Default: 3 if the cluster has three servers, else 1.
	Replicas int `json:"replicas,omitempty"`

	// What 200 must mean: `disk` (every server that stores the notification has
	// synced it), `replicas` (three servers have it, or `disk`), or `any`.
	// Below it the endpoint answers 503. Default: replicas.
	Durability string `json:"durability,omitempty"`

	// The servers' sync_interval: `always`, or a duration. Set it if the module
	// cannot find it out.
	SyncInterval string `json:"sync_interval,omitempty"`

	// The URLs of the servers' monitoring endpoints, such as http://n1:8222,
	// where the module finds out how each one syncs. Placeholders are replaced.
	Monitoring []string `json:"monitoring,omitempty"`

	// The prefix of streams and subjects, so that several installations can
	// share a cluster. Caddys with the same prefix share one queue. Default:
	// dovecot_push.
	Prefix string `json:"prefix,omitempty"`
}

// provision sets the defaults and replaces placeholders.
func (q *Queue) provision() error {
	if q.Embedded != nil && q.NATS != nil {
		return errors.New("it is either embedded or nats")
	}
	if q.MaxAge < 0 || q.MaxBytes < 0 {
		return errors.New("max_age and max_bytes cannot be negative")
	}
	if q.MaxAge == 0 {
		q.MaxAge = caddy.Duration(defaultMaxAge)
	}
	if q.MaxBytes == 0 {
		q.MaxBytes = defaultMaxBytes
	}
	if q.NATS != nil {
		return q.provisionNATS()
	}
	if q.Embedded == nil {
		q.Embedded = new(EmbeddedQueue)
	}
	if q.Embedded.Sync < 0 {
		return errors.New("sync is \"always\" or a positive duration")
	}
	if q.Embedded.Path == "" {
		q.Embedded.Path = filepath.Join(caddy.AppDataDir(), "dovecot_push")
	}
	path, err := option.Replace(q.Embedded.Path)
	if err != nil {
		return fmt.Errorf("path: %w", err)
	}
	q.Embedded.Path, err = filepath.Abs(path)
	return err
}

func (q *Queue) provisionNATS() error {
	n := q.NATS
	var err error
	if len(n.URLs) == 0 {
		return errors.New("nats needs the URL of at least one server")
	}
	n.URLs = append([]string(nil), n.URLs...)
	for i, u := range n.URLs {
		if u, err = option.Replace(u); err != nil {
			return fmt.Errorf("server URL: %w", err)
		}
		if strings.Contains(u, "@") {
			return errors.New("a server URL cannot hold credentials, they would be shown in the configuration: use credentials, credentials_file or token")
		}
		n.URLs[i] = u
	}
	for _, s := range []*string{&n.CredentialsFile, &n.Username, &n.CAFile, &n.ClientCertFile, &n.ClientKeyFile} {
		v, err := option.Replace(*s)
		if err != nil {
			return fmt.Errorf("nats: %w", err)
		}
		*s = v
	}
	access := sha256.New()
	for _, s := range []struct{ name, value string }{{"password", n.Password}, {"token", n.Token}} {
		secret := ""
		if s.value != "" {
			if secret, err = option.Secret(s.value); err != nil {
				return fmt.Errorf("nats %s: %w", s.name, err)
			}
		}
		fmt.Fprintf(access, "%q", secret)
	}
	if n.Prefix != "" && !queue.ValidName(n.Prefix) {
		return errors.New("prefix must be 1 to 64 of A-Z a-z 0-9 _ -")
	}
	if n.Replicas < 0 || n.Replicas > 5 {
		return errors.New("replicas must be 1 to 5")
	}
	switch queue.Durability(n.Durability) {
	case "", queue.OnDisk, queue.OnReplicas, queue.AnyDurability:
	default:
		return fmt.Errorf("durability is disk, replicas or any, not %q", n.Durability)
	}
	if q.syncs, err = parseSyncInterval(n.SyncInterval); err != nil {
		return err
	}
	n.Monitoring = append([]string(nil), n.Monitoring...)
	for i, u := range n.Monitoring {
		if u, err = option.Replace(u); err != nil {
			return fmt.Errorf("monitoring: %w", err)
		}
		if p, err := url.Parse(u); err != nil || p.Scheme != "http" && p.Scheme != "https" || p.Host == "" || p.User != nil {
			return errors.New("monitoring needs URLs such as http://n1:8222, without credentials")
		}
		n.Monitoring[i] = u
	}
	if q.tls, err = option.ClientTLS(n.CAFile, n.ClientCertFile, n.ClientKeyFile); err != nil {
		return err
	}
	for _, path := range []string{n.CAFile, n.ClientCertFile} {
		if path == "" {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("nats: %w", err)
		}
		fmt.Fprintf(access, "%q", content)
	}
	access.Sum(q.access[:0])
	return nil
}

// parseSyncInterval reads a setting as it stands in the configuration of a NATS
// server.
func parseSyncInterval(s string) (time.Duration, error) {
	switch s {
	case "":
		return 0, nil
	case "always":
		return queue.SyncAlways, nil
	}
	d, err := caddy.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("sync_interval is \"always\" or a positive duration such as 2m, as in the configuration of the NATS servers, not %q", s)
	}
	return d, nil
}

// config is the same for the package queue. The secrets were found when the
// configuration was provisioned.
func (q *Queue) config(log *slog.Logger) queue.Config {
	cfg := queue.Config{MaxBytes: q.MaxBytes, MaxAge: time.Duration(q.MaxAge), Logger: log}
	if n := q.NATS; n != nil {
		cfg.Prefix = n.Prefix
		password, _ := option.Secret(n.Password)
		token, _ := option.Secret(n.Token)
		cfg.External = &queue.External{
			URLs: n.URLs, CredentialsFile: n.CredentialsFile,
			User: n.Username, Password: password, Token: token,
			TLS: q.tls, Replicas: n.Replicas,
			Durability: queue.Durability(n.Durability), SyncInterval: q.syncs, Monitoring: n.Monitoring,
		}
		return cfg
	}
	cfg.Embedded = &queue.Embedded{Path: q.Embedded.Path, Sync: time.Duration(q.Embedded.Sync)}
	return cfg
}

// identity is what makes two configurations mean the same queue: everything
// that cannot be changed while it is open.
func (q *Queue) identity() string {
	if n := q.NATS; n != nil {
		return fmt.Sprintf("nats %q", []string{
			strings.Join(n.URLs, " "), n.Prefix, n.CredentialsFile, n.Username, fmt.Sprintf("%x", q.access), fmt.Sprint(n.Replicas),
			n.Durability, n.SyncInterval, strings.Join(n.Monitoring, " "),
		})
	}
	return "embedded " + q.Embedded.Path
}

// queues holds the open queues over reloads.
var queues = caddy.NewUsagePool()

type pooledQueue struct {
	*queue.Queue
	log    currentLogger
	owners *owners
}

func (p pooledQueue) Destruct() error { return p.Close() }

// openQueue opens the queue, or takes over the one that is open.
func (a *App) openQueue(ctx context.Context, cfg queue.Config) (*queue.Queue, error) {
	key := a.Queue.identity()
	value, loaded, err := queues.LoadOrNew(key, func() (caddy.Destructor, error) {
		log := newCurrentLogger(a.slog)
		cfg.Logger = slog.New(log)
		q, err := queue.Open(ctx, cfg)
		if err != nil {
			return nil, err
		}
		return pooledQueue{q, log, new(owners)}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("opening the queue: %w", err)
	}
	a.key, a.pooled = key, value.(pooledQueue)
	a.pooled.owners.add(a)
	if loaded {
		if err := a.pooled.useSettings(ctx, a); err != nil {
			return nil, err
		}
	}
	return a.pooled.Queue, nil
}

// useSettings makes the queue go by the settings of a.
func (p *pooledQueue) useSettings(ctx context.Context, a *App) error {
	p.log.to.Store(a.slog)
	return p.Reconcile(ctx, a.queueConfig())
}

// queueConfig is what the queue is opened with.
func (a *App) queueConfig() queue.Config {
	cfg := a.Queue.config(a.slog)
	if _, err := a.catchUpSource(); err == nil {
		cfg.Journals = []string{catchup.Name}
	}
	return cfg
}

// closeQueue gives the queue back. The last one to do so closes it.
func (a *App) closeQueue() error {
	if a.key == "" {
		return nil
	}
	var err error
	if successor := a.pooled.owners.leave(a); successor != nil {
		err = a.pooled.useSettings(context.Background(), successor)
	}
	_, derr := queues.Delete(a.key)
	a.key = ""
	return errors.Join(err, derr)
}
