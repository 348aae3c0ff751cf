// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package lograte

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New[int](Limit{Interval: time.Minute, Burst: 3, Every: 5 * time.Second})
		written := func(key int) bool {
			now, _ := l.Allow(key)
			return now
		}
		assert.True(t, written(1))
		for range 7 {
			assert.False(t, written(1), "the same")
		}
		assert.True(t, written(2))
		assert.True(t, written(3))
		assert.False(t, written(4), "too many together")
		time.Sleep(5 * time.Second)
		assert.True(t, written(4))
		time.Sleep(time.Minute)
		now, suppressed := l.Allow(1)
		assert.True(t, now)
		assert.Equal(t, int64(7), suppressed)
		for key := range 10 * maxKeys {
			l.Allow(key)
			assert.LessOrEqual(t, len(l.lines), maxKeys)
		}
		time.Sleep(time.Hour)
		for range 10 { // what was left out for lack of room is made up for
			now, suppressed = l.Allow(10*maxKeys - 1)
			if now {
				break
			}
		}
		assert.True(t, now)
		assert.Equal(t, int64(1), suppressed)
	})
}

func TestWithoutKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New[struct{}](Limit{Burst: 2, Every: 10 * time.Second})
		for i := range 5 {
			now, _ := l.Allow(struct{}{})
			assert.Equal(t, i < 2, now)
		}
		time.Sleep(10 * time.Second)
		now, suppressed := l.Allow(struct{}{})
		assert.True(t, now)
		assert.Equal(t, int64(3), suppressed)
	})
}
