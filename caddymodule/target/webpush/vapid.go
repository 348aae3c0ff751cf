// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"

	deliver "github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
)

const (
	// vapidFile is where the VAPID keys are in Caddy's storage. Its format is
	// {"keys":[…]}, the newest first.
	vapidFile = "dovecot_push/vapid.json"
	vapidLock = "dovecot_push_vapid"
	// vapidFresh is how soon a Caddy learns of a key that another one, with
	// the same storage, has made.
	vapidFresh = time.Minute
	// vapidTimeout bounds the storage.
	vapidTimeout = 10 * time.Second
)

// vapidKeys are the VAPID keys of this server, or of all Caddys that share
// its storage. They are made when they are first needed.
type vapidKeys struct {
	storage certmagic.Storage

	mu      sync.Mutex // held while the storage is read
	current struct {
		sync.Mutex
		ring deliver.Ring
		read time.Time
	}
}

type vapidStored struct {
	Keys deliver.Ring `json:"keys"`
}

// ring returns the keys, the newest first. What is known already is returned
// while somebody else reads the storage, and when it cannot be read.
func (v *vapidKeys) ring(ctx context.Context) (deliver.Ring, error) {
	v.current.Lock()
	ring, fresh := v.current.ring, time.Since(v.current.read) < vapidFresh
	v.current.Unlock()
	if fresh {
		return ring, nil
	}
	if len(ring) == 0 {
		v.mu.Lock()
	} else if !v.mu.TryLock() {
		return ring, nil
	}
	defer v.mu.Unlock()
	read, err := v.load(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		read, err = v.change(ctx, func(stored deliver.Ring) (deliver.Ring, error) {
			if len(stored) > 0 { // another Caddy was faster
				return stored, nil
			}
			return newKey(nil)
		})
	}
	if err != nil && len(ring) == 0 {
		return nil, err
	}
	if err != nil {
		read = ring
	}
	v.keep(read)
	return read, nil
}

// rotate makes a new key, which subscriptions are made with from now on. The
// one before stays, because pages have been given it, and so do all that
// devices use; inUse tells which.
func (v *vapidKeys) rotate(ctx context.Context, inUse map[string]int) (deliver.Ring, error) {
	if _, err := v.ring(ctx); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	ring, err := v.change(ctx, func(stored deliver.Ring) (deliver.Ring, error) {
		kept := make(deliver.Ring, 0, len(stored))
		for i, key := range stored {
			if i == 0 || inUse[key.Public()] > 0 {
				kept = append(kept, key)
			}
		}
		return newKey(kept)
	})
	if err == nil {
		v.keep(ring)
	}
	return ring, err
}

func newKey(before deliver.Ring) (deliver.Ring, error) {
	key, err := deliver.NewKey(time.Now())
	if err != nil {
		return nil, err
	}
	return slices.Insert(before, 0, key), nil
}

// change changes what is stored, while no other Caddy does. v.mu is held.
func (v *vapidKeys) change(ctx context.Context, edit func(deliver.Ring) (deliver.Ring, error)) (deliver.Ring, error) {
	ctx, cancel := context.WithTimeout(ctx, vapidTimeout)
	defer cancel()
	if err := v.storage.Lock(ctx, vapidLock); err != nil {
		return nil, fmt.Errorf("locking the VAPID keys in Caddy's storage: %w", err)
	}
	defer func() { _ = v.storage.Unlock(context.WithoutCancel(ctx), vapidLock) }()
	stored, err := v.load(ctx)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ring, err := edit(stored)
	if err != nil {
		return nil, err
	}
	text, err := json.MarshalIndent(vapidStored{ring}, "", "\t")
	if err != nil {
		return nil, err
	}
	if err := v.storage.Store(ctx, vapidFile, text); err != nil {
		return nil, fmt.Errorf("writing the VAPID keys into Caddy's storage: %w", err)
	}
	return ring, nil
}

func (v *vapidKeys) load(ctx context.Context) (deliver.Ring, error) {
	ctx, cancel := context.WithTimeout(ctx, vapidTimeout)
	defer cancel()
	text, err := v.storage.Load(ctx, vapidFile)
	if err != nil {
		return nil, fmt.Errorf("reading the VAPID keys from Caddy's storage: %w", err)
	}
	var stored vapidStored
	if err := json.Unmarshal(text, &stored); err != nil {
		return nil, fmt.Errorf("%s in Caddy's storage: %w", vapidFile, err)
	}
	if len(stored.Keys) == 0 {
		return nil, fmt.Errorf("%s in Caddy's storage holds no key; without it, a new one is created after a restart", vapidFile)
	}
	return stored.Keys, nil
}

func (v *vapidKeys) keep(ring deliver.Ring) {
	v.current.Lock()
	defer v.current.Unlock()
	v.current.ring, v.current.read = ring, time.Now()
}
