// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
)

const (
	// sessionKeyFile is where the key that signs session cookies is in Caddy's
	// storage: 32 random bytes. Who takes it away signs everybody out.
	sessionKeyFile = "dovecot_push/session.key"
	sessionKeyLock = "dovecot_push_session_key"
	// actionKeyFile is where the key is that notifications are signed with for what
	// can be done from them. Who takes it away makes all of them good for nothing.
	actionKeyFile = "dovecot_push/actions.key"
	actionKeyLock = "dovecot_push_actions_key"

	sharedKeySize = 32
	// sharedKeyTimeout bounds the storage.
	sharedKeyTimeout = 10 * time.Second
)

// sharedKey is a secret key of this server, or of all Caddys that share its
// storage. It is made when it is first needed.
type sharedKey struct {
	storage certmagic.Storage
	// file is its name in the storage, and lock that of the lock for making it.
	file, lock string

	mu  sync.Mutex // held while the storage is read
	key []byte
}

func newSessionKey(storage certmagic.Storage) *sharedKey {
	return &sharedKey{storage: storage, file: sessionKeyFile, lock: sessionKeyLock}
}

func newActionKey(storage certmagic.Storage) *sharedKey {
	return &sharedKey{storage: storage, file: actionKeyFile, lock: actionKeyLock}
}

// get returns the key.
func (s *sharedKey) get(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sharedKeyTimeout)
	defer cancel()
	key, err := s.load(ctx)
	if errors.Is(err, fs.ErrNotExist) {
		key, err = s.make(ctx)
	}
	if err != nil {
		return nil, err
	}
	s.key = key
	return key, nil
}

func (s *sharedKey) load(ctx context.Context) ([]byte, error) {
	key, err := s.storage.Load(ctx, s.file)
	if err != nil {
		return nil, fmt.Errorf("reading %s from Caddy's storage: %w", s.file, err)
	}
	if len(key) < sharedKeySize {
		return nil, fmt.Errorf("%s in Caddy's storage is not a key; without it, a new one is created after a reload", s.file)
	}
	return key, nil
}

// make stores a new key, unless another Caddy is faster.
func (s *sharedKey) make(ctx context.Context) ([]byte, error) {
	if err := s.storage.Lock(ctx, s.lock); err != nil {
		return nil, fmt.Errorf("locking %s in Caddy's storage: %w", s.file, err)
	}
	defer func() { _ = s.storage.Unlock(context.WithoutCancel(ctx), s.lock) }()
	key, err := s.load(ctx)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, sharedKeySize)
	_, _ = rand.Read(key) // never fails (Go 1.24)
	if err := s.storage.Store(ctx, s.file, key); err != nil {
		return nil, fmt.Errorf("writing %s into Caddy's storage: %w", s.file, err)
	}
	return key, nil
}
