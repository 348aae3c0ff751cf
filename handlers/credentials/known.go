// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"
)

// maxKnown bounds how many right credentials are remembered. There are hardly
// more than there are pairs: only those for which a hash was computed and
// matched get in, so a stranger can neither fill the memory nor push anything
// out of it.
const maxKnown = 1024

// known remembers credentials that are right, so that their hash is not
// computed again. It holds no password, but a MAC of each under a key that
// never leaves this process and is made anew for each Verifier: what one
// configuration accepted says nothing to another.
type known struct {
	macs sync.Pool // of hash.Hash, keyed; whoever takes one has it alone

	mu   sync.RWMutex
	keys map[digest]struct{}
}

func newKnown() *known {
	secret := make([]byte, sha256.Size)
	_, _ = rand.Read(secret) // never fails (Go 1.24)
	return &known{
		macs: sync.Pool{New: func() any { return hmac.New(sha256.New, secret) }},
		keys: make(map[digest]struct{}),
	}
}

// key returns what the credentials are remembered by. It writes to nothing
// that another request has: shared buffers are how wrong passwords come to pass
// for right ones.
func (k *known) key(username, password string) (key digest) {
	text := make([]byte, 0, 128)
	text = appendText(text, username)
	text = appendText(text, password)
	mac := k.macs.Get().(hash.Hash)
	defer k.macs.Put(mac)
	mac.Reset()
	mac.Write(text)
	mac.Sum(key[:0])
	return key
}

// appendText appends text with its length before it, so that no two pairs of
// texts give the same bytes.
func appendText(b []byte, text string) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
	return append(b, text...)
}

func (k *known) has(key digest) bool {
	k.mu.RLock()
	defer k.mu.RUnlock()
	_, ok := k.keys[key]
	return ok
}

func (k *known) add(key digest) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.keys) >= maxKnown {
		clear(k.keys)
	}
	k.keys[key] = struct{}{}
}
