// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRegisterAll(t *testing.T) {
	users := names(2500)
	m := newMemory(users...)
	f := newFixture(t, m, Config{Policy: All})
	f.onePass(t)
	for _, user := range users {
		require.Equal(t, ours(user), m.value(user))
		require.Equal(t, 1, m.sets[user])
	}
	assert.Zero(t, m.counted("get"), "what was read of all is not read of each")
	pass := f.Status().Pass
	assert.Equal(t, 2500, pass.Users)
	assert.Equal(t, 2500, pass.Done)
	assert.EqualValues(t, 2500, pass.Registered)
	assert.Equal(t, map[State]int{Registered: 2500}, pass.States)

	// The next pass finds what went wrong meanwhile, and only that.
	m.reset()
	m.put(users[7], "") // an INBOX that was created again
	m.put(users[8], "user=x\t"+mark)
	m.put(users[9], "user=x")
	m.put("new@example.com", "")
	m.mu.Lock()
	delete(m.entries, users[10]) // an account that was closed
	m.mu.Unlock()
	f.onePass(t)
	assert.Equal(t, map[string]int{users[7]: 1, users[8]: 1, "new@example.com": 1}, m.sets)
	assert.Equal(t, Conflict, f.state(t, users[9]))
	assert.Equal(t, Unregistered, f.state(t, users[10]))
	assert.Equal(t, Registered, f.state(t, "new@example.com"))
}

// A pass that finds nothing to do takes a handful of requests, and no more
// memory than it must.
func TestNothingToDo(t *testing.T) {
	const users = 10_000
	m := newMemory(names(users)...)
	f := newFixture(t, m, Config{Policy: All})
	f.onePass(t)
	m.reset()
	before, peak := heap(), uint64(0)
	var mu sync.Mutex
	m.failing(func(string, string) error {
		mu.Lock()
		defer mu.Unlock()
		peak = max(peak, heap())
		return nil
	})
	f.onePass(t)
	calls := m.counted("list") + m.counted("values") + m.counted("get")
	assert.LessOrEqual(t, calls, 1+users/groupSize)
	assert.Zero(t, m.counted("set")+m.counted("unset"))
	t.Logf("heap %d before, %d at most", before>>10, peak>>10)
	assert.Less(t, peak, before+24<<20)
}

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// When the policy is narrowed, those are unregistered who are not wanted any
// more, and nobody else.
func TestNarrowedPolicy(t *testing.T) {
	users := names(100)
	m := newMemory(users...)
	table := openTable(t, t.TempDir())
	f := newFixture(t, m, Config{Policy: All, Table: table})
	f.onePass(t)
	m.put("other@example.com", ours("other@example.com")) // of another Caddy with another store
	require.NoError(t, f.SetSubscribed(t.Context(), users[3], true))
	f.Stop()
	f = newFixture(t, m, Config{Policy: OnSubscribe, Table: table})
	f.onePass(t)
	for i, user := range users {
		want := ""
		if i == 3 {
			want = ours(user)
		}
		require.Equal(t, want, m.value(user))
	}
	assert.Equal(t, ours("other@example.com"), m.value("other@example.com"))
}

// One mailbox that is broken spoils the answer for everybody in a group.
func TestBrokenMailboxInAGroup(t *testing.T) {
	users := names(2000)
	broken := users[1234]
	m := newMemory(users...)
	m.failing(func(method, user string) error {
		if user == broken || method == "values" && strings.HasPrefix(broken, strings.TrimSuffix(user, "*")) {
			return ErrTemporary
		}
		return nil
	})
	f := newFixture(t, m, Config{Policy: All})
	f.onePass(t)
	assert.Equal(t, Failed, f.state(t, broken))
	assert.EqualValues(t, len(users)-1, f.Status().Pass.Registered)
	assert.Less(t, m.counted("get"), 30)
	assert.Less(t, m.counted("values"), 40)
}

// Where users cannot be listed, those are looked at who are wanted.
func TestNoListing(t *testing.T) {
	users := names(100)
	m := newMemory(users...)
	m.failing(func(method, _ string) error {
		if method == "list" || method == "values" {
			return ErrCannotList
		}
		return nil
	})
	f := newFixture(t, m, Config{Policy: All})
	for _, user := range users[:60] {
		require.NoError(t, f.SetSubscribed(t.Context(), user, true))
	}
	f.onePass(t)
	assert.EqualValues(t, 60, f.Status().Pass.Registered)
	assert.Equal(t, 60, m.counted("get"))
	assert.Equal(t, 1, strings.Count(f.log.String(), "Dovecot must list them"))
	assert.Equal(t, ReasonCannotList, f.Status().Outage)
	require.ErrorIs(t, f.Status().Err, ErrCannotList)
}

// Few subscribers among many users are read one by one.
func TestFewAmongMany(t *testing.T) {
	users := names(3000)
	m := newMemory(users...)
	f := newFixture(t, m, Config{})
	for i, user := range users {
		if i%50 == 0 {
			require.NoError(t, f.SetSubscribed(t.Context(), user, true))
		}
	}
	f.onePass(t)
	assert.EqualValues(t, 60, f.Status().Pass.Registered)
	assert.Equal(t, 60, m.counted("get"))
	assert.Zero(t, m.counted("values"))
}

// However many users there are, a pass holds the entries of a few groups of them
// at a time.
func TestMemoryIsBounded(t *testing.T) {
	const count = 10_000
	m := newMemory(names(count)...)
	for _, user := range names(count) {
		m.put(user, ours(user))
	}
	var now, most, largest atomic.Int32
	f := newFixture(t, m, Config{Policy: All, Registrar: measured{m, func(users int) {
		largest.Store(max(largest.Load(), int32(users)))
	}}})
	m.failing(func(method, _ string) error {
		if method == "values" {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Millisecond)
			now.Add(-1)
		}
		return nil
	})
	f.onePass(t)
	assert.Equal(t, map[State]int{Registered: count}, f.Status().Pass.States)
	assert.LessOrEqual(t, most.Load(), int32(readers))
	assert.LessOrEqual(t, largest.Load(), int32(groupSize))
	assert.Zero(t, m.counted("get"))
	assert.Empty(t, f.schedule.users, "nothing is remembered of users who need nothing")
}

// measured is a memory that counts the users it answers about.
type measured struct {
	*memory
	tell func(users int)
}

func (m measured) Values(ctx context.Context, mask string) (map[string]string, error) {
	values, err := m.memory.Values(ctx, mask)
	m.tell(len(values))
	return values, err
}

func TestRate(t *testing.T) {
	m := newMemory(names(30)...)
	f := newFixture(t, m, Config{Policy: All, Rate: 100})
	start := time.Now()
	f.onePass(t)
	assert.Greater(t, time.Since(start), 150*time.Millisecond, "30 users, 100 a second, but for the first 10")
}

func TestConcurrency(t *testing.T) {
	m := newMemory(names(200)...)
	var now, most atomic.Int32
	full := make(chan struct{}) // as many as there may be
	end := sync.OnceFunc(func() { close(full) })
	m.failing(func(method, _ string) error {
		if method == "set" {
			n := now.Add(1)
			for {
				old := most.Load()
				if old >= n || most.CompareAndSwap(old, n) {
					break
				}
			}
			if n >= 7 {
				end()
			}
			select {
			case <-full:
			case <-time.After(time.Minute):
			}
			time.Sleep(time.Millisecond)
			now.Add(-1)
		}
		return nil
	})
	f := newFixture(t, m, Config{Policy: All, Concurrency: 7})
	f.onePass(t)
	assert.EqualValues(t, 7, most.Load())
}

// The process is killed in the middle of a pass; the next one finishes it, and
// no entry is written twice.
func TestKilled(t *testing.T) {
	if dir := os.Getenv("REGISTRATION_TEST_DIR"); dir != "" {
		passUntilKilled(t, dir)
		return
	}
	users := names(500)
	dir := t.TempDir()
	child := exec.Command(os.Args[0], "-test.run=^TestKilled$")
	child.Env = append(os.Environ(), "REGISTRATION_TEST_DIR="+dir)
	require.NoError(t, child.Start())
	log := filepath.Join(dir, "sets")
	eventually(t, func() bool {
		content, _ := os.ReadFile(log)
		return strings.Count(string(content), "\n") >= 200
	})
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())

	// What the child wrote is what Dovecot has.
	content, err := os.ReadFile(log)
	require.NoError(t, err)
	m := newMemory(users...)
	done := strings.Fields(string(content))
	require.Less(t, len(done), len(users))
	for _, user := range done {
		m.put(user, ours(user))
	}
	f := newFixture(t, m, Config{Policy: All, Table: openTable(t, filepath.Join(dir, "queue"))})
	f.Start()
	eventually(t, func() bool { p := f.Status().Pass; return p != nil && !p.Ended.IsZero() })
	for _, user := range users {
		require.Equal(t, ours(user), m.value(user))
		want := 1
		if slices.Contains(done, user) {
			want = 0
		}
		require.Equal(t, want, m.sets[user], user)
	}
}

// passUntilKilled is the process that is killed.
func passUntilKilled(t *testing.T, dir string) {
	log, err := os.OpenFile(filepath.Join(dir, "sets"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	defer log.Close()
	m := newMemory(names(500)...)
	var sets atomic.Int32
	m.failing(func(method, user string) error {
		if method == "set" {
			if sets.Add(1) > 400 {
				select {} // until it is killed
			}
			time.Sleep(5 * time.Millisecond)
			_, err := fmt.Fprintln(log, user)
			return err
		}
		return nil
	})
	f := newFixture(t, m, Config{Policy: All, Table: openTable(t, filepath.Join(dir, "queue"))})
	f.onePass(t)
}
