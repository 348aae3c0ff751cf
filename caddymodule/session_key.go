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
	sessionKeySize = 32
	// sessionKeyTimeout bounds the storage.
	sessionKeyTimeout = 10 * time.Second
)

// sessionKey is the key of this server, or of all Caddys that share its
// storage. It is made when it is first needed.
type sessionKey struct {
	storage certmagic.Storage

	mu  sync.Mutex // held while the storage is read
	key []byte
}

// get returns the key.
func (s *sessionKey) get(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.key != nil {
		return s.key, nil
	}
	ctx, cancel := context.WithTimeout(ctx, sessionKeyTimeout)
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

func (s *sessionKey) load(ctx context.Context) ([]byte, error) {
	key, err := s.storage.Load(ctx, sessionKeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the session key from Caddy's storage: %w", err)
	}
	if len(key) < sessionKeySize {
		return nil, fmt.Errorf("%s in Caddy's storage is not a key; without it, a new one is created after a reload", sessionKeyFile)
	}
	return key, nil
}

// make stores a new key, unless another Caddy is faster.
func (s *sessionKey) make(ctx context.Context) ([]byte, error) {
	if err := s.storage.Lock(ctx, sessionKeyLock); err != nil {
		return nil, fmt.Errorf("locking the session key in Caddy's storage: %w", err)
	}
	defer func() { _ = s.storage.Unlock(context.WithoutCancel(ctx), sessionKeyLock) }()
	key, err := s.load(ctx)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, sessionKeySize)
	_, _ = rand.Read(key) // never fails (Go 1.24)
	if err := s.storage.Store(ctx, sessionKeyFile, key); err != nil {
		return nil, fmt.Errorf("writing the session key into Caddy's storage: %w", err)
	}
	return key, nil
}
