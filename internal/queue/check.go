// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
)

const (
	// checkTable is what Check writes to.
	checkTable = "health"
	// checkRoom is how much room a notification of the usual kind takes at
	// most, in bytes.
	checkRoom = 4 << 10
)

// Check reports whether Accept would work now: it writes to the same store, in
// the same way, and looks whether there is room. Errors: those of
// [Queue.Accept].
func (q *Queue) Check(ctx context.Context) error {
	if _, err := q.Table(checkTable).Put(ctx, Key{"check"}, nil); err != nil {
		return err
	}
	st, err := q.Stats(ctx, nil)
	if err != nil {
		return err
	}
	q.change.RLock()
	limit := q.settings.MaxBytes
	q.change.RUnlock()
	if st.Bytes+checkRoom > uint64(max(limit, 0)) {
		return fmt.Errorf("%w: %d of %d bytes", ErrFull, st.Bytes, limit)
	}
	return nil
}
