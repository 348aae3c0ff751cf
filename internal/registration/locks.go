// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"sync"
)

// locks make sure that one goroutine at a time reconciles a user.
type locks struct {
	mu   sync.Mutex
	held map[string]chan struct{} // closed when the holder is done
}

// lock waits until nobody else has the user. unlock gives the user back.
func (l *locks) lock(ctx context.Context, user string) (unlock func(), err error) {
	for {
		l.mu.Lock()
		if l.held == nil {
			l.held = make(map[string]chan struct{})
		}
		done, taken := l.held[user]
		if !taken {
			done = make(chan struct{})
			l.held[user] = done
			l.mu.Unlock()
			return func() {
				l.mu.Lock()
				delete(l.held, user)
				l.mu.Unlock()
				close(done)
			}, nil
		}
		l.mu.Unlock()
		select {
		case <-done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
