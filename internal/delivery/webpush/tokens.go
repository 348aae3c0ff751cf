// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"sync"
	"time"
)

const (
	// tokenLife is how long a token is valid. Push services accept a day at
	// most (RFC 8292, section 2), by their clock.
	tokenLife = 12 * time.Hour
	// tokenUse is how long it is used.
	tokenUse = 10 * time.Hour
	// maxTokens bounds the memory: users choose the origins.
	maxTokens = 1024
)

// tokens makes the values of the Authorization field. There is one for each key
// and push service, signed once and used for many messages.
type tokens struct {
	contact string

	mu    sync.Mutex
	known map[audience]token
}

type audience struct{ key, origin string }

type token struct {
	authorization string
	until         time.Time
}

func newTokens(contact string) *tokens {
	return &tokens{contact: contact, known: make(map[audience]token)}
}

// authorization returns the value for messages to the push service with the
// given origin (RFC 8292, section 3).
func (t *tokens) authorization(key *Key, origin string) (string, error) {
	now := time.Now().Round(0) // by the clock that push services go by
	to := audience{key.Public(), origin}
	t.mu.Lock()
	have := t.known[to]
	t.mu.Unlock()
	if left := have.until.Sub(now); left > 0 && left <= tokenUse { // and not made by a clock that went wrong
		return have.authorization, nil
	}
	jwt, err := key.token(origin, t.contact, now.Add(tokenLife))
	if err != nil {
		return "", err
	}
	made := token{"vapid t=" + jwt + ", k=" + key.Public(), now.Add(tokenUse)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= maxTokens {
		clear(t.known) // they cost a signature each
	}
	t.known[to] = made
	return made.authorization, nil
}
