// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package credentials checks the user name and password of a request, as HTTP
// Basic authentication (RFC 7617) carries them.
//
// A [Verifier] compares requests with the accepted [Pair]s, of which several
// allow rotation, and returns a [Verdict] for each. It serves a mail server
// that sends the same credentials a thousand times a second, and resists
// guessing: every comparison takes the same time whether the user name is known
// or not, an expensive hash is computed once per right password and rarely for
// wrong ones, and the memory and time that a request can cost are bounded.
//
// Like everything below handlers, it makes no promise of stability before v1.
package credentials

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/authcache"
	"github.com/dovecotpush/caddy-dovecot-push/internal/throttle"
)

// Verdict is the result of [Verifier.Verify].
type Verdict int

// The zero Verdict is none that lets anybody in.
const (
	// Missing: the request has no credentials, or no Basic ones.
	Missing Verdict = iota
	// Wrong: no pair has this user name and this password, or the header is
	// malformed, there twice or longer than 4 KiB.
	Wrong
	// Throttled: the source has sent wrong credentials too often, and must
	// wait.
	Throttled
	// Busy: too many other hashes are being computed.
	Busy
	// Accepted: the credentials are those of a pair.
	Accepted
)

// String returns the name of the verdict in lower case.
func (v Verdict) String() string {
	switch v {
	case Missing:
		return "missing"
	case Wrong:
		return "wrong"
	case Throttled:
		return "throttled"
	case Busy:
		return "busy"
	case Accepted:
		return "accepted"
	default:
		return "unknown"
	}
}

// Result is the answer of [Verifier.Verify].
type Result struct {
	Verdict Verdict
	// Username is that of the credentials, if the verdict is Accepted.
	Username string
	// Wait is how long to wait before another attempt, if the verdict is
	// Throttled or Busy.
	Wait time.Duration
}

// Verifier tells right credentials from wrong ones. It is safe for concurrent
// use, stores no plain password and never shows what it stores.
type Verifier struct {
	plain  []plainPair
	hashed []hashedPair
	// rounds is how many hashes one user name has at most, and so how many
	// are computed before a password is called wrong.
	rounds int

	memory *Memory
	ctx    context.Context // ends with Close
	cancel context.CancelFunc

	mu      sync.Mutex
	flights map[authcache.Key]*flight
}

type digest = [sha256.Size]byte

type plainPair struct{ username, password digest }

type hashedPair struct {
	username digest
	hash     []byte
	text     string // the hash again, as what was right is remembered with it
	comparer Comparer
}

// New returns the verifier for pairs, with a memory that it may share with
// others, or with one of its own if that is nil. It computes every hash once,
// to find the ones that cannot be read now instead of refusing their users for
// ever. Errors name a pair by its number, 1 being the first, and tell nothing
// of it.
func New(pairs []Pair, memory *Memory) (*Verifier, error) {
	if memory == nil {
		memory = NewMemory()
	}
	v := &Verifier{memory: memory, flights: make(map[authcache.Key]*flight)}
	v.ctx, v.cancel = context.WithCancel(context.Background())
	hashes := make(map[digest]int)
	for i := range pairs {
		p := &pairs[i]
		if err := p.validate(); err != nil {
			return nil, fmt.Errorf("credentials: pair %d: %w", i+1, err)
		}
		username := sha256.Sum256([]byte(p.Username))
		if len(p.Password) > 0 {
			v.plain = append(v.plain, plainPair{username, sha256.Sum256(p.Password)})
			continue
		}
		// A copy without spare capacity: whatever a comparer appends to it
		// goes elsewhere, and not into what other requests look at.
		hash := make([]byte, len(p.Hash))
		copy(hash, p.Hash)
		v.hashed = append(v.hashed, hashedPair{username, hash, string(hash), p.Comparer})
		hashes[username]++
		v.rounds = max(v.rounds, hashes[username])
	}
	return v, nil
}

// Close ends all waits of [Verifier.Verify], now and later, with Busy.
func (v *Verifier) Close() { v.cancel() }

// Verify judges the credentials of r, which came from source.
//
// Failures are counted per source (an IPv4 address, the first 64 bits of an
// IPv6 address): ten at once, then one a second; beyond that the verdict is
// Throttled instead of Wrong. Right credentials are still accepted, so that
// nobody can lock out a mail server that shares their address, unless a hash
// would have to be computed: that is not done for a throttled source.
//
// Verify may wait for other hashes to be computed first, for a second and a
// half at most, whatever becomes of the request's context: that is not
// cancelled before the body has been read.
func (v *Verifier) Verify(r *http.Request, source netip.Addr) Result {
	source = throttle.Source(source)
	username, password, err := basic(r)
	switch {
	case errors.Is(err, errMissing):
		return Result{Verdict: Missing}
	case err != nil:
		return v.wrong(source)
	case v.isPlain(username, password):
		return Result{Verdict: Accepted, Username: username}
	case len(v.hashed) == 0:
		return v.wrong(source)
	}
	if result := v.verifyHashed(source, username, password); result.Verdict != Accepted {
		return result
	}
	v.memory.right.Count(source)
	return Result{Verdict: Accepted, Username: username}
}

// wrong counts a failure.
func (v *Verifier) wrong(source netip.Addr) Result {
	if wait := v.memory.failures.Count(source); wait > 0 {
		return Result{Verdict: Throttled, Wait: wait}
	}
	return Result{Verdict: Wrong}
}

// isPlain compares with all plain pairs, even after one has matched.
func (v *Verifier) isPlain(username, password string) bool {
	if len(v.plain) == 0 {
		return false
	}
	u, p := sha256.Sum256([]byte(username)), sha256.Sum256([]byte(password))
	found := 0
	for i := range v.plain {
		found |= subtle.ConstantTimeCompare(v.plain[i].username[:], u[:]) &
			subtle.ConstantTimeCompare(v.plain[i].password[:], p[:])
	}
	return found == 1
}

// Format shows nothing that the verifier stores, whatever the verb.
func (v *Verifier) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "credentials.Verifier")
}
