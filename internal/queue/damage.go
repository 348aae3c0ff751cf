// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import "sync/atomic"

// Damage is what was found wrong with an embedded store since it was opened.
type Damage struct {
	// Files were set aside, in the directory "damaged" of the queue.
	Files uint64
	// Lost is how many notifications were in what could not be read of them,
	// as far as that is known.
	Lost uint64
	// SetBack is how many positions of targets were beyond the end of the
	// queue.
	SetBack uint64
}

// damage counts it.
type damage struct {
	files, lost, setBack atomic.Uint64
}

// Damage returns the damage found in the store since it was opened.
func (q *Queue) Damage() Damage {
	return Damage{Files: q.damage.files.Load(), Lost: q.damage.lost.Load(), SetBack: q.damage.setBack.Load()}
}
