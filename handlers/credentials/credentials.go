// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package credentials checks the user name and password of a request, as HTTP
// Basic authentication (RFC 7617) carries them.
//
// In come the [Pair]s that are right, of which several make a rotation, and
// the requests; out goes a [Verdict] each. The check is built for a mail
// server that shows the same credentials a thousand times a second, and
// against strangers who guess: every comparison takes the same time whether
// the user name is known or not, an expensive hash is computed once per right
// password and seldom for wrong ones, and every memory that a request can
// make grow is bounded.
package credentials

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/proven"
	"github.com/dovecotpush/caddy-dovecot-push/internal/throttle"
)

const (
	// failuresAtOnce and failureInterval are how often a source may fail.
	failuresAtOnce  = 10
	failureInterval = time.Second
	// maxSources bounds how many sources are remembered, at some 1.3 MB.
	maxSources = 4096
	// maxKnown bounds how many right credentials are remembered, for which a
	// hash was computed. There are hardly more than there are pairs.
	maxKnown = 1024
)

// Verdict is what [Verifier.Verify] makes of a request.
type Verdict int

// The zero Verdict is none that lets anybody in.
const (
	// Missing: the request shows no credentials, or others than Basic ones.
	Missing Verdict = iota
	// Wrong: no pair has this user name and this password, or the header is
	// malformed, there twice or longer than 4 KiB.
	Wrong
	// Throttled: the source has shown wrong credentials too often to be
	// listened to right now.
	Throttled
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
	case Accepted:
		return "accepted"
	default:
		return "unknown"
	}
}

// Result is the answer of [Verifier.Verify].
type Result struct {
	Verdict Verdict
	// Username is who came, if the verdict is Accepted.
	Username string
	// Wait is how long to wait before another attempt, if the verdict is
	// Throttled.
	Wait time.Duration
}

// Verifier tells right credentials from wrong ones. It is safe for concurrent
// use, keeps no plain password and shows nothing of what it keeps. What it
// remembers (failures per source, successes with hashes) lasts as long as it
// does: a changed configuration is a new Verifier.
type Verifier struct {
	plain  []plainPair
	hashed []hashedPair
	// rounds is how many hashes one user name has at most, and so how many
	// are computed before a password is called wrong.
	rounds int

	// known are right credentials, so that their hash is not computed again.
	// It is made anew for each Verifier: what one configuration accepted says
	// nothing to another.
	known    *proven.Set
	failures *throttle.Throttle[netip.Addr]
	// slots bounds how many hashes are computed at once.
	slots chan struct{}
}

type digest = [sha256.Size]byte

type plainPair struct{ username, password digest }

type hashedPair struct {
	username digest
	hash     []byte
	comparer Comparer
}

// New returns the verifier for pairs. It computes every hash once, to find the
// ones that cannot be read now instead of refusing their users for ever.
// Errors name a pair by its number, 1 being the first, and tell nothing of it.
func New(pairs []Pair) (*Verifier, error) {
	v := &Verifier{
		known:    proven.New(maxKnown, 0),
		failures: throttle.New[netip.Addr](throttle.Limit{AtOnce: failuresAtOnce, Every: failureInterval, Keys: maxSources}),
		slots:    make(chan struct{}, runtime.GOMAXPROCS(0)),
	}
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
		v.hashed = append(v.hashed, hashedPair{username, hash, p.Comparer})
		hashes[username]++
		v.rounds = max(v.rounds, hashes[username])
	}
	return v, nil
}

// Verify judges the credentials of r, which came from source.
//
// Failures are counted per source (an IPv4 address, the first 64 bits of an
// IPv6 address): ten at once, then one a second; beyond that the verdict is
// Throttled instead of Wrong. Right credentials are accepted all the same, so
// that nobody can lock out the mail server whose address he shares, unless
// their hash would have to be computed for it: that is not done for a source
// that is throttled.
//
// Verify waits for other hashes to be computed first, but not beyond the end
// of the request's context, which makes the verdict Throttled.
func (v *Verifier) Verify(r *http.Request, source netip.Addr) Result {
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
	return v.verifyHashed(r, source, username, password)
}

func (v *Verifier) verifyHashed(r *http.Request, source netip.Addr, username, password string) Result {
	accepted := Result{Verdict: Accepted, Username: username}
	key := v.known.Key(username, password)
	if v.known.Has(key) {
		return accepted
	}
	if wait := v.failures.Wait(throttle.Source(source)); wait > 0 {
		return Result{Verdict: Throttled, Wait: wait}
	}
	select {
	case v.slots <- struct{}{}:
		defer func() { <-v.slots }()
	case <-r.Context().Done():
		return Result{Verdict: Throttled, Wait: failureInterval}
	}
	// After a start a mail server comes with many connections at once. All
	// but the first few find here what those have computed.
	if v.known.Has(key) {
		return accepted
	}
	// Counted before it is known, for many at once must not slip through: the
	// first success of a source costs one of its failures.
	if wait := v.failures.Count(throttle.Source(source)); wait > 0 {
		return Result{Verdict: Throttled, Wait: wait}
	}
	if !v.isHashed(username, password) {
		return Result{Verdict: Wrong}
	}
	v.known.Add(key)
	return accepted
}

// wrong counts a failure.
func (v *Verifier) wrong(source netip.Addr) Result {
	if wait := v.failures.Count(throttle.Source(source)); wait > 0 {
		return Result{Verdict: Throttled, Wait: wait}
	}
	return Result{Verdict: Wrong}
}

// isPlain looks at all plain pairs, whichever of them matches.
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

// isHashed computes the hashes of the user. Where the user has fewer than
// another one has, or does not exist, it computes hashes of others and throws
// the result away, so that the time it takes does not tell who exists.
func (v *Verifier) isHashed(username, password string) bool {
	u := sha256.Sum256([]byte(username))
	own := make([]*hashedPair, 0, v.rounds)
	for i := range v.hashed {
		if subtle.ConstantTimeCompare(v.hashed[i].username[:], u[:]) == 1 {
			own = append(own, &v.hashed[i])
		}
	}
	for i := range v.rounds {
		pair := &v.hashed[i]
		if i < len(own) {
			pair = own[i]
		}
		same, err := pair.comparer.Compare(pair.hash, []byte(password))
		if i < len(own) && same && err == nil {
			return true
		}
	}
	return false
}

// Format writes nothing of what the verifier keeps, whatever the verb.
func (v *Verifier) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "credentials.Verifier")
}
