// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"time"
)

// retryPause is how long reading and writing wait after a failure.
const retryPause = time.Second

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
