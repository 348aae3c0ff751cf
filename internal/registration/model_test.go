// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

const (
	modelInterval = 10 * time.Second
	modelGrace    = 7 * time.Second
	modelPause    = 3 * time.Second // the longest after failures
	modelCalls    = 3000            // more than are ever necessary
	foreignValue  = "user=somebody-else"
	ghost         = "ghost@example.com" // whom Dovecot never knows
)

var modelUsers = []string{alice, bob, "carol@example.com", ghost}

// Whatever happens, in the end each entry is as it should be, and a value that
// something else has set is never touched without being asked to. Nothing is
// changed from then on.
func TestModel(t *testing.T) {
	queuetest.Property(t, 8, func(rt *rapid.T) {
		m := startModel(rt, t.TempDir())
		defer m.stop(rt)
		rt.Repeat(map[string]func(*rapid.T){
			"":          func(*rapid.T) { synctest.Wait() },
			"subscribe": m.subscribe, "resubscribe": m.subscribe, "unsubscribe": m.subscribe, // more often than the others
			"decide": m.decide,
			"change": m.change,
			"fail": func(rt *rapid.T) {
				m.dovecot.begin(rapid.SampledFrom([]string{
					"", "", "away", "credentials", "no METADATA", "a broken mailbox", "every other call", "answers are lost",
				}).Draw(rt, "trouble"))
			},
			"restart": func(rt *rapid.T) { m.stop(rt); m.start(rt) },
			"wait":    func(rt *rapid.T) { time.Sleep(time.Duration(rapid.IntRange(1, 15).Draw(rt, "seconds")) * time.Second) },
		})
		m.dovecot.begin("")
		time.Sleep(modelGrace + 3*modelInterval + 3*modelPause)
		synctest.Wait()
		m.requireEntries(rt)
		before := m.dovecot.changes
		time.Sleep(2 * modelInterval)
		synctest.Wait()
		require.Equal(rt, before, m.dovecot.changes, "entries that are as they should be are changed")
	})
}

// model is what is wanted of each user.
type model struct {
	dir      string
	policy   Policy
	operator bool // who decides about users, which stands above all else
	dovecot  *modelDovecot
	queue    *queue.Queue
	r        *Reconciler

	mu    sync.Mutex
	users map[string]*modelUser
}

type modelUser struct {
	byHand     string
	subscribed bool // has a device
	notified   bool // the reconciler was notified of the last change of that
	until      time.Time
	foreign    bool // the entry
}

func startModel(rt *rapid.T, dir string) *model {
	m := &model{
		dir: dir, policy: rapid.SampledFrom([]Policy{OnSubscribe, OnSubscribe, OnSubscribe, All, Off}).Draw(rt, "policy"),
		operator: rapid.IntRange(0, 2).Draw(rt, "operator") == 0,
		dovecot:  &modelDovecot{memory: newMemory(modelUsers[:3]...)}, users: make(map[string]*modelUser),
	}
	m.dovecot.failing(m.dovecot.failure)
	for _, user := range modelUsers {
		m.users[user] = &modelUser{notified: true}
	}
	m.start(rt)
	return m
}

func (m *model) start(rt *rapid.T) {
	var err error
	m.queue, err = queue.Open(context.Background(), queuetest.Config(m.dir))
	require.NoError(rt, err)
	m.r, err = New(Config{
		Registrar: m.dovecot, Table: m.queue.Table("registrations"), Exclusive: true, Policy: m.policy,
		Interval: modelInterval, Grace: modelGrace, Logger: slog.New(slog.DiscardHandler), Subscribers: m.subscribers,
	})
	require.NoError(rt, err)
	m.r.backoff = []time.Duration{time.Second, modelPause}
	m.r.pauses = m.r.backoff
	m.r.Start()
}

func (m *model) stop(rt *rapid.T) {
	m.r.Stop()
	require.NoError(rt, m.queue.Close())
}

func (m *model) subscribers(context.Context) (all []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for user, u := range m.users {
		if u.subscribed {
			all = append(all, user)
		}
	}
	return all, nil
}

// wanted reports whether the user is to be registered, unless somebody decided
// otherwise.
func (m *model) wanted(u *modelUser) bool {
	switch m.policy {
	case All:
		return true
	case Off:
		return false
	default:
		return u.subscribed || time.Now().Before(u.until)
	}
}

func (m *model) user(rt *rapid.T) (string, *modelUser) {
	user := rapid.SampledFrom(modelUsers).Draw(rt, "user")
	return user, m.users[user]
}

// subscribe adds or removes the devices of a user. The reconciler may learn it
// from the next pass only.
func (m *model) subscribe(rt *rapid.T) {
	user, u := m.user(rt)
	subscribed := u.subscribed != (rapid.IntRange(0, 3).Draw(rt, "other") > 0)
	tell := rapid.Bool().Draw(rt, "tell")
	m.mu.Lock()
	if tell && u.subscribed && !subscribed {
		u.until = time.Now().Add(modelGrace)
	}
	u.notified = u.notified && (tell || u.subscribed == subscribed) || tell && subscribed
	u.subscribed = subscribed
	m.mu.Unlock()
	if tell {
		require.NoError(rt, m.r.SetSubscribed(context.Background(), user, subscribed))
	}
}

// decide is what an operator does. That it fails is expected.
func (m *model) decide(rt *rapid.T) {
	user, u := m.user(rt)
	decision := rapid.SampledFrom([]string{"register", "take over", "unregister"}).Draw(rt, "decision")
	if !m.operator || !u.notified && m.policy == OnSubscribe {
		return // what it then means depends on whether there was a pass
	}
	if decision == "unregister" {
		u.byHand = ""
		if m.wanted(u) {
			u.byHand = byHandUnregistered
		}
		_, _ = m.r.Unregister(context.Background(), user)
		return
	}
	u.byHand = byHandRegistered
	if decision == "take over" {
		m.dovecot.takeOver(user)
		defer m.dovecot.takeOver("")
	}
	_, err := m.r.Register(context.Background(), user, decision == "take over")
	u.foreign = u.foreign && m.dovecot.value(user) == foreignValue
	if u.foreign || user == ghost {
		require.Error(rt, err)
	}
}

// change is what something else does to an entry.
func (m *model) change(rt *rapid.T) {
	user, u := m.user(rt)
	if user == ghost {
		return
	}
	switch rapid.SampledFrom([]string{"foreign value", "INBOX created again", "wrong value"}).Draw(rt, "change") {
	case "foreign value":
		u.foreign = true
		m.dovecot.put(user, foreignValue)
	case "INBOX created again":
		u.foreign = false
		m.dovecot.put(user, "")
	default:
		if isOurs(m.dovecot.value(user)) {
			m.dovecot.put(user, ours("nobody@example.com"))
		}
	}
}

// requireEntries compares each entry with what is wanted.
func (m *model) requireEntries(rt *rapid.T) {
	require.NoError(rt, m.dovecot.harm)
	for _, user := range slices.Sorted(maps.Keys(m.dovecot.entries)) {
		u, want := m.users[user], ""
		switch {
		case u.foreign:
			want = foreignValue
		case u.byHand == byHandRegistered || u.byHand == "" && m.wanted(u):
			want = ours(user)
		}
		require.Equal(rt, want, m.dovecot.value(user), user)
	}
}

// modelDovecot is a Dovecot that fails, and notices when a value that something
// else has set is changed, or it is asked without end.
type modelDovecot struct {
	*memory

	mu       sync.Mutex
	trouble  string
	takeover string // for whom it is allowed
	calls    int    // since the trouble began
	changes  int
	harm     error
}

// begin lets calls fail from now on.
func (d *modelDovecot) begin(trouble string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trouble, d.calls = trouble, 0
}

func (d *modelDovecot) takeOver(user string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.takeover = user
}

// failure is the result of a call.
func (d *modelDovecot) failure(_, user string) error {
	d.mu.Lock()
	d.calls++
	calls, trouble := d.calls, d.trouble
	if calls > modelCalls {
		d.harm = errors.New("Dovecot is asked without end")
	}
	d.mu.Unlock()
	if calls > modelCalls {
		time.Sleep(time.Minute) // virtual time does not go on while something is busy
	}
	switch {
	case trouble == "away", trouble == "every other call" && calls%2 == 0:
		return ErrTemporary
	case trouble == "credentials":
		return ErrCredentials
	case trouble == "no METADATA":
		return ErrNoMetadata
	case trouble == "a broken mailbox" && user == alice:
		return ErrMail
	}
	return nil
}

func (d *modelDovecot) Set(ctx context.Context, user, value string) error {
	return d.change(user, func() error { return d.memory.Set(ctx, user, value) })
}

func (d *modelDovecot) Unset(ctx context.Context, user string) error {
	return d.change(user, func() error { return d.memory.Unset(ctx, user) })
}

// change may do what it is asked to and lose the answer.
func (d *modelDovecot) change(user string, change func() error) error {
	d.mu.Lock()
	d.changes++
	if got := d.value(user); got != "" && !isOurs(got) && d.takeover != user {
		d.harm = errors.Join(d.harm, fmt.Errorf("the value %q of %s is overwritten", got, user))
	}
	lost := d.trouble == "answers are lost"
	d.mu.Unlock()
	if err := change(); err != nil {
		return err
	}
	if lost {
		return ErrTemporary
	}
	return nil
}
