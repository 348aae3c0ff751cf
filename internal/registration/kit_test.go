// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

func TestMain(m *testing.M) { natsleak.VerifyTestMain(m) }

func openTable(t testing.TB, dir string) *queue.Table {
	return queuetest.Open(t, queuetest.Config(dir)).Table("registrations")
}

// memory is a Registrar whose entries are in memory. It does what the
// conformance suite asks of all of them, counts its calls, and fails when told
// to.
type memory struct {
	mu      sync.Mutex
	entries map[string]string // of every user there is
	calls   map[string]int    // by method
	sets    map[string]int    // by user
	// fail, if set, is asked before each call, with the mask or the user.
	fail func(method, user string) error
}

func newMemory(users ...string) *memory {
	m := &memory{entries: make(map[string]string), calls: make(map[string]int), sets: make(map[string]int)}
	for _, user := range users {
		m.entries[user] = ""
	}
	return m
}

// call counts a call and returns its error. m.mu is held after it.
func (m *memory) call(ctx context.Context, method, user string) error {
	m.mu.Lock()
	m.calls[method]++
	fail := m.fail
	m.mu.Unlock()
	defer m.mu.Lock()
	if ctx.Err() != nil {
		return fmt.Errorf("%w: %w", ErrTemporary, ctx.Err())
	}
	if fail != nil {
		return fail(method, user)
	}
	return nil
}

func (m *memory) known(user string) error {
	if _, ok := m.entries[user]; !ok {
		return ErrUnknownUser
	}
	return nil
}

func (m *memory) Get(ctx context.Context, user string) (string, error) {
	err := m.call(ctx, "get", user)
	defer m.mu.Unlock()
	if err == nil {
		err = m.known(user)
	}
	if err != nil {
		return "", err
	}
	return m.entries[user], nil
}

func (m *memory) Set(ctx context.Context, user, value string) error {
	err := m.call(ctx, "set", user)
	defer m.mu.Unlock()
	if err == nil {
		err = m.known(user)
	}
	if err == nil {
		m.entries[user] = value
		m.sets[user]++
	}
	return err
}

func (m *memory) Unset(ctx context.Context, user string) error {
	err := m.call(ctx, "unset", user)
	defer m.mu.Unlock()
	if err == nil {
		err = m.known(user)
	}
	if err == nil {
		m.entries[user] = ""
	}
	return err
}

func (m *memory) List(ctx context.Context) ([]string, error) {
	err := m.call(ctx, "list", "")
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(m.entries)), nil // always the same are the first
}

func (m *memory) Values(ctx context.Context, mask string) (map[string]string, error) {
	err := m.call(ctx, "values", mask)
	defer m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	values := make(map[string]string)
	for user, value := range m.entries {
		if fits, err := path.Match(mask, user); err == nil && fits {
			values[user] = value
		}
	}
	return values, nil
}

func (m *memory) value(user string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries[user]
}

func (m *memory) put(user, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.entries[user] = value
}

func (m *memory) failing(f func(method, user string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

func (m *memory) counted(method string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[method]
}

func (m *memory) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.calls)
	clear(m.sets)
}

// events collects the events of a reconciler.
type events struct {
	mu  sync.Mutex
	all []Event
}

func (e *events) note(event Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, event)
}

func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var told []string
	for _, event := range e.all {
		told = append(told, strings.TrimSpace(fmt.Sprintf("%s %s %s", event.State, event.User, event.Reason)))
	}
	e.all = nil
	slices.Sort(told)
	return told
}

// fixture is a reconciler on a table of its own that has not been started.
type fixture struct {
	*Reconciler
	*memory
	events *events
	log    *strings.Builder // safe to read when the reconciler has stopped
}

func newFixture(t *testing.T, registrar *memory, cfg Config) *fixture {
	t.Helper()
	if cfg.Table == nil {
		cfg.Table = openTable(t, t.TempDir())
	}
	f := &fixture{memory: registrar, events: new(events), log: new(strings.Builder)}
	if cfg.Registrar == nil {
		cfg.Registrar = registrar
	}
	cfg.Exclusive = true
	cfg.Logger = slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg.Observe = f.events.note
	r, err := New(cfg)
	require.NoError(t, err)
	f.Reconciler = r
	r.backoff = []time.Duration{time.Millisecond, 10 * time.Millisecond}
	r.pauses = []time.Duration{time.Millisecond, 10 * time.Millisecond}
	t.Cleanup(r.Stop)
	return f
}

// onePass makes a pass, as if it were time for one.
func (f *fixture) onePass(t *testing.T) {
	t.Helper()
	_, err := f.passIfLeader(t.Context(), true)
	require.NoError(t, err)
}

func (f *fixture) state(t *testing.T, user string) State {
	t.Helper()
	reg, err := f.Registration(t.Context(), user)
	require.NoError(t, err)
	return reg.State
}

// eventually waits for a condition.
func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	require.Eventually(t, condition, time.Minute, 2*time.Millisecond)
}

func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("user%05d@example.com", i)
	}
	return all
}

// ours is the value that a user's entry gets by default.
func ours(user string) string { return "user=" + user + "\t" + mark }
