// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/admission"
	"github.com/dovecotpush/caddy-dovecot-push/internal/authcache"
	"github.com/dovecotpush/caddy-dovecot-push/internal/throttle"
)

const (
	// failuresAtOnce and failureInterval are how often a source may fail.
	failuresAtOnce  = 10
	failureInterval = time.Second
	// rightFor and wrongFor are how long a source takes precedence because it was
	// right, and waits behind others because it was wrong.
	rightFor = 30 * 24 * time.Hour
	wrongFor = 10 * time.Minute
	// maxSources bounds how many sources are remembered, at some 1 MB for each
	// of the three things that are remembered of them.
	maxSources = 4096
	// maxKnown bounds how many right credentials are remembered, for which a
	// hash was computed. There are hardly more than there are pairs.
	maxKnown = 1024

	// patience is how long a request waits for its hash to be computed:
	// Dovecot gives up after two seconds.
	patience = 1500 * time.Millisecond
	// maxWaiting bounds how many hashes wait to be computed, and
	// maxOfSource those of one source.
	maxWaiting  = 32
	maxOfSource = 8
	// busyAgain is the Retry-After of the verdict Busy.
	busyAgain = time.Second
)

// Memory is what verifiers remember: which credentials were right, where they
// came from, who has failed, and which hashes are being computed. Several
// verifiers can share it, such as those before and after a reload. Right
// credentials are remembered with the hash that they matched. With another hash
// they are checked again.
//
// It is safe for concurrent use and never shows what it stores.
type Memory struct {
	known    *authcache.Cache // user name, hash and password
	failures *throttle.Throttle[netip.Addr]
	// right and wrong are the sources that were so in the last rightFor and
	// wrongFor.
	right, wrong *throttle.Throttle[netip.Addr]
	// computing bounds how many hashes are computed at once. One processor is
	// left for the rest of the server, where there are several; those that
	// were right before may have it.
	computing *admission.Room
}

// NewMemory returns a memory that remembers nothing.
func NewMemory() *Memory {
	return &Memory{
		known:    authcache.New(maxKnown, 0),
		right:    throttle.New[netip.Addr](throttle.Limit{Burst: 1, Interval: rightFor, Keys: maxSources}),
		wrong:    throttle.New[netip.Addr](throttle.Limit{Burst: 1, Interval: wrongFor, Keys: maxSources}),
		failures: throttle.New[netip.Addr](throttle.Limit{Burst: failuresAtOnce, Interval: failureInterval, Keys: maxSources}),
		computing: admission.New(admission.Limits{
			Concurrent: max(1, runtime.GOMAXPROCS(0)-1), Reserved: 1,
			Waiting: maxWaiting, PerSource: maxOfSource, MaxWait: patience,
		}),
	}
}

// rank returns the precedence of a source when hashes are computed.
func (m *Memory) rank(source netip.Addr) admission.Rank {
	switch {
	case !m.right.Quiet(source):
		return admission.Known
	case m.failures.Quiet(source) && m.wrong.Quiet(source):
		return admission.Fresh
	default:
		return admission.Suspect
	}
}

// Format shows nothing that the memory stores, whatever the verb.
func (m *Memory) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "credentials.Memory")
}
