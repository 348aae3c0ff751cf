// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/admission"
	"github.com/dovecotpush/caddy-dovecot-push/internal/authcache"
)

// maxSharing bounds how many requests wait for the same hash.
const maxSharing = 128

// flight is the check of one user name and password. Concurrent requests with
// them share it: after a start, a mail server opens many connections at once.
type flight struct {
	rank    admission.Rank // of the source that it is made for
	done    chan struct{}
	verdict Verdict // once done
	sharing int
}

// candidate is a hash to compare with.
type candidate struct {
	*hashedPair
	own bool // of the user
}

func (v *Verifier) verifyHashed(source netip.Addr, username, password string) Result {
	candidates := v.candidates(username)
	if v.isKnown(candidates, username, password) {
		return Result{Verdict: Accepted}
	}
	key := v.memory.known.Key(username, password)
	f, leads, wait := v.join(key, source)
	switch {
	case wait > 0:
		return Result{Verdict: Throttled, Wait: wait}
	case f == nil:
		return Result{Verdict: Busy, Wait: busyAgain}
	case leads:
		return v.lead(key, f, source, candidates, username, password)
	default:
		return v.share(f, source)
	}
}

// join returns the check of the credentials that is in progress, or begins one.
// It is first counted as a failure of its source, which is taken back if it
// succeeds: concurrent checks get no more attempts than successive ones.
func (v *Verifier) join(key authcache.Key, source netip.Addr) (f *flight, leads bool, wait time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f := v.flights[key]; f != nil {
		if f.sharing >= maxSharing {
			return nil, false, 0
		}
		f.sharing++
		return f, false, 0
	}
	rank := v.memory.rank(source)
	if wait := v.memory.failures.Count(source); wait > 0 {
		return nil, false, wait
	}
	f = &flight{done: make(chan struct{}), rank: rank}
	v.flights[key] = f
	return f, true, 0
}

// lead makes a check that other requests may share.
func (v *Verifier) lead(key authcache.Key, f *flight, source netip.Addr, candidates []candidate, username, password string) Result {
	f.verdict = Busy // should a comparer panic
	defer func() {
		v.mu.Lock()
		delete(v.flights, key)
		v.mu.Unlock()
		close(f.done)
	}()
	memory := v.memory
	if !memory.computing.Acquire(v.ctx, source, f.rank) {
		memory.failures.Return(source)
		return Result{Verdict: Busy, Wait: busyAgain}
	}
	defer memory.computing.Release(source)
	matched := compare(candidates, password)
	if matched == nil {
		memory.wrong.Count(source)
		f.verdict = Wrong
		return Result{Verdict: Wrong}
	}
	memory.failures.Return(source)
	memory.known.Add(memory.known.Key(username, matched.text, password))
	f.verdict = Accepted
	return Result{Verdict: Accepted}
}

// share waits for the result of another request's check.
func (v *Verifier) share(f *flight, source netip.Addr) Result {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-f.done:
	case <-timer.C:
		return Result{Verdict: Busy, Wait: busyAgain}
	case <-v.ctx.Done():
		return Result{Verdict: Busy, Wait: busyAgain}
	}
	switch f.verdict {
	case Accepted:
		return Result{Verdict: Accepted}
	case Wrong:
		return v.wrong(source)
	default:
		return Result{Verdict: Busy, Wait: busyAgain}
	}
}

// candidates returns as many hashes as any user has. If this one has fewer, or
// does not exist, they are filled up with hashes of others, so that the time it
// takes does not reveal who exists.
func (v *Verifier) candidates(username string) []candidate {
	u := sha256.Sum256([]byte(username))
	all := make([]candidate, 0, v.rounds)
	for i := range v.hashed {
		if subtle.ConstantTimeCompare(v.hashed[i].username[:], u[:]) == 1 {
			all = append(all, candidate{&v.hashed[i], true})
		}
	}
	for i := len(all); i < v.rounds; i++ {
		all = append(all, candidate{&v.hashed[i], false})
	}
	return all
}

// isKnown reports whether a hash of the user is known to match the password.
func (v *Verifier) isKnown(candidates []candidate, username, password string) bool {
	found := false
	for _, c := range candidates {
		has := v.memory.known.Has(v.memory.known.Key(username, c.text, password))
		found = found || has && c.own
	}
	return found
}

// compare computes hashes until one matches, and returns that one.
func compare(candidates []candidate, password string) *hashedPair {
	for _, c := range candidates {
		same, err := c.comparer.Compare(c.hash, []byte(password))
		if c.own && same && err == nil {
			return c.hashedPair
		}
	}
	return nil
}
