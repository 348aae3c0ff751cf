// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/natsleak"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

func TestMain(m *testing.M) { natsleak.VerifyTestMain(m) }

// patience is how long tests wait for what must happen.
const patience = time.Minute

// mail is a message in memory.
type mail struct {
	Message
	expunged bool
}

// dovecot is a Source whose mailboxes are in memory, and which reports to a
// queue.
type dovecot struct {
	t testing.TB

	mu       sync.Mutex
	validity uint32
	boxes    map[string][]*mail // by user; the UID is the index + 1
	fail     func(user string) error
	settle   time.Duration     // how long a report may take
	reads    func(user string) // is called before the messages of a user are read
}

func newDovecot(t testing.TB, users ...string) *dovecot {
	d := &dovecot{t: t, validity: 1, settle: 200 * time.Millisecond, boxes: make(map[string][]*mail)}
	for _, user := range users {
		d.boxes[user] = nil
	}
	return d
}

// deliver adds a mail and returns it.
func (d *dovecot) deliver(user, subject string) *mail {
	d.mu.Lock()
	defer d.mu.Unlock()
	m := &mail{Message: Message{
		UID: uint32(len(d.boxes[user]) + 1), Received: time.Now(), Saved: time.Now(), Subject: &subject, Transported: true,
	}}
	d.boxes[user] = append(d.boxes[user], m)
	return m
}

// change changes a mail.
func (d *dovecot) change(m *mail, f func(*mail)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(m)
}

// report reports a mail as the ox driver does, with its UID or without.
func (d *dovecot) report(q *queue.Queue, user string, m *mail, nameless bool) {
	told := m.Message
	if nameless {
		told.UID = 0
	}
	body := told.body(user, Mailbox{UIDValidity: d.validity, Unseen: 1})
	n, err := notification.Identify(body, nil)
	require.NoError(d.t, err)
	id, window := n.Identity(body, time.Now().String())
	_, err = q.Accept(context.Background(), queue.Record{ID: id, Mailbox: n.Mailbox(), UID: n.UID, Accepted: time.Now(), Body: body}, window)
	require.NoError(d.t, err)
}

func (d *dovecot) Mailbox(_ context.Context, user string) (Mailbox, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fail != nil {
		if err := d.fail(user); err != nil {
			return Mailbox{}, err
		}
	}
	box, ok := d.boxes[user]
	if !ok {
		return Mailbox{}, registration.ErrUnknownUser
	}
	return Mailbox{UIDValidity: d.validity, UIDNext: uint32(len(box) + 1), Unseen: 1}, nil
}

func (d *dovecot) Mailboxes(ctx context.Context, mask string) (map[string]Mailbox, error) {
	prefix, all := strings.CutSuffix(mask, "*")
	require.True(d.t, all)
	boxes := make(map[string]Mailbox)
	for _, user := range d.users() {
		if !strings.HasPrefix(user, prefix) {
			continue
		}
		box, err := d.Mailbox(ctx, user)
		if err != nil {
			return nil, err
		}
		boxes[user] = box
	}
	return boxes, nil
}

func (d *dovecot) Messages(_ context.Context, user string, uidValidity uint32, uids []UIDs) (messages []Message, box Mailbox, err error) {
	if d.reads != nil {
		d.reads(user)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, m := range d.boxes[user] {
		if uidValidity == d.validity && !m.expunged && slices.ContainsFunc(uids, func(u UIDs) bool { return u.First <= m.UID && m.UID <= u.Last }) {
			messages = append(messages, m.Message)
		}
	}
	return messages, Mailbox{UIDValidity: d.validity, UIDNext: uint32(len(d.boxes[user]) + 1), Unseen: 1}, nil
}

func (d *dovecot) users() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var users []string
	for user := range d.boxes {
		users = append(users, user)
	}
	slices.Sort(users)
	return users
}

func (d *dovecot) notified(context.Context) iter.Seq2[registration.Notified, error] {
	return func(yield func(registration.Notified, error) bool) {
		for _, user := range d.users() {
			if !yield(registration.Notified{User: user, Names: []string{user}}, nil) {
				return
			}
		}
	}
}

// start starts a catcher that waits for Dovecot only for a moment.
func (d *dovecot) start(q *queue.Queue, cfg Config) *Catcher {
	d.t.Helper()
	cfg.Queue, cfg.Alone, cfg.Source, cfg.Users = q, true, d, d.notified
	cfg.List = func(context.Context) ([]string, error) { return d.users(), nil }
	cfg.Logger = slog.New(slog.DiscardHandler)
	if cfg.Interval == 0 {
		cfg.Interval = time.Hour
	}
	c, err := New(cfg)
	require.NoError(d.t, err)
	c.settle, c.refusedSettle = d.settle, d.settle
	c.Start()
	d.t.Cleanup(c.Stop)
	return c
}

func sweepAll(t testing.TB, c *Catcher, users ...string) Progress {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		p, err := c.Sweep(ctx, users, nil)
		if err != nil && ctx.Err() == nil && (err == ErrElsewhere || err == ErrStopped) { //nolint:errorlint // as they are
			time.Sleep(10 * time.Millisecond) // the lease is being taken
			continue
		}
		require.NoError(t, err)
		return p
	}
}

// told is what waits for the target: how often each subject of each user.
func told(t testing.TB, q *queue.Queue) map[string]int {
	t.Helper()
	counts := make(map[string]int)
	r := q.NewReader("target")
	defer r.Close()
	for {
		groups, err := queuetest.Take(t, r, 100)
		if err != nil {
			require.ErrorIs(t, err, queue.ErrNoMore)
			return counts
		}
		for _, g := range groups {
			for _, record := range g.Records {
				n, err := new(notification.Decoder).Decode(record.Body)
				require.NoError(t, err)
				counts[n.User+" "+n.Subject]++
			}
			require.NoError(t, g.Ack())
		}
	}
}

func config(dir string) queue.Config {
	cfg := queuetest.Config(dir)
	cfg.Journals = []string{Name}
	return cfg
}

func open(t testing.TB, dir string) *queue.Queue {
	t.Helper()
	q := queuetest.Open(t, config(dir))
	_, err := q.Use(t.Context(), []string{"target"})
	require.NoError(t, err)
	return q
}

// What is told and what is not.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	d := newDovecot(t, "alice", "bob", "carol")
	d.deliver("alice", "before")
	c := d.start(q, Config{Max: 5, MaxAge: time.Hour})
	first := sweepAll(t, c)
	require.Equal(t, 3, first.Users)
	require.Empty(t, told(t, q), "what was there before is not told")

	d.report(q, "alice", d.deliver("alice", "reported"), false)
	d.report(q, "alice", d.deliver("alice", "reported without UID"), true)
	d.deliver("alice", "missed")
	d.report(q, "alice", d.deliver("alice", "reported later"), false)
	d.change(d.deliver("alice", "read"), func(m *mail) { m.Seen = true })
	d.change(d.deliver("alice", "expunged"), func(m *mail) { m.expunged = true })
	d.change(d.deliver("alice", "old"), func(m *mail) { m.Received, m.Saved = time.Now().Add(-2*time.Hour), time.Now().Add(-2*time.Hour) })
	d.change(d.deliver("alice", "appended"), func(m *mail) { m.Transported = false })
	d.change(d.deliver("alice", "moved"), func(m *mail) { m.Received = time.Now().Add(-10 * time.Minute) })
	for i := range 30 {
		d.deliver("bob", fmt.Sprint(i))
	}
	d.boxes["zoe"] = nil // registered since
	d.deliver("zoe", "before")
	p := sweepAll(t, c)
	want := map[string]int{
		"alice reported": 1, "alice reported without UID": 1, "alice missed": 1, "alice reported later": 1,
		"bob 25": 1, "bob 26": 1, "bob 27": 1, "bob 28": 1, "bob 29": 1,
	}
	assert.Equal(t, want, told(t, q))
	assert.Equal(t, 6, p.Found)
	assert.Equal(t, 2, p.Behind)
	assert.Equal(t, map[Reason]int{ReasonSeen: 1, ReasonOld: 1, ReasonAppended: 2, ReasonTooMany: 25}, p.LeftOut)

	// Once, and also after a restart.
	for range 2 {
		assert.Zero(t, sweepAll(t, c).Found)
		c.Stop()
		c = d.start(q, Config{})
	}
	// An INBOX that was created again starts with its current mails.
	d.mu.Lock()
	d.validity = 2
	d.mu.Unlock()
	assert.Zero(t, sweepAll(t, c).Found)
	// So does everything where nobody read along for a while.
	c.Stop()
	off := queuetest.Config(dir)
	require.NoError(t, q.Reconcile(t.Context(), off))
	d.report(q, "alice", d.deliver("alice", "while it was off"), false)
	assert.Equal(t, map[string]int{"alice while it was off": 1}, told(t, q))
	require.Eventually(t, func() bool {
		stats, err := q.Stats(t.Context(), nil)
		return err == nil && stats.Waiting == 0
	}, patience, 10*time.Millisecond, "nothing is kept for a catch-up that is off")
	require.NoError(t, q.Reconcile(t.Context(), config(dir)))
	c = d.start(q, Config{})
	assert.Zero(t, sweepAll(t, c).Found)
	d.deliver("alice", "missed in the new one")
	assert.Equal(t, 1, sweepAll(t, c, "alice").Found)
	assert.Equal(t, map[string]int{"alice missed in the new one": 1}, told(t, q))
}

// Mails arrive while sweeps go on, some reported late, some not at all, some
// without UID; catchers come and go. Each mail is told once.
func TestSweepWhileMailsArrive(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	var users []string
	for i := range 60 { // enough for masks
		users = append(users, fmt.Sprintf("user%d", i))
	}
	d := newDovecot(t, users...)
	d.settle = 2 * time.Second // a busy machine may take a while for a report
	c := d.start(q, Config{})
	sweepAll(t, c)
	want := make(map[string]int)
	var reports sync.WaitGroup
	deadline := time.Now().Add(4 * time.Second)
	for i := 0; time.Now().Before(deadline); i++ {
		user := users[rand.N(len(users))]
		subject := fmt.Sprint(i)
		want[user+" "+subject]++
		m := d.deliver(user, subject)
		switch rand.N(4) {
		case 0: // never
		case 1:
			d.report(q, user, m, rand.N(2) == 0)
		default:
			nameless := rand.N(3) == 0
			reports.Go(func() {
				time.Sleep(rand.N(20 * time.Millisecond))
				d.report(q, user, m, nameless)
			})
		}
		if i%50 == 0 {
			c.Trigger(Back)
		}
		if i%400 == 399 {
			c.Stop()
			c = d.start(q, Config{})
		}
		time.Sleep(2 * time.Millisecond)
	}
	reports.Wait()
	sweepAll(t, c)
	got := told(t, q)
	for mail, n := range want {
		assert.Equal(t, n, got[mail], mail)
	}
	assert.Len(t, got, len(want))
	assert.Zero(t, sweepAll(t, c).Found)
	t.Logf("%d mails", len(want))
}

// A user whose mailbox is broken, and one who does not exist, keep nobody else
// from being served; a server that is away ends the sweep, and the next one does
// the rest.
func TestSweepFailures(t *testing.T) {
	before := retries
	retries = []time.Duration{time.Hour} // what failed is left for the sweep that is asked for
	t.Cleanup(func() { retries = before })
	q := open(t, t.TempDir())
	var users []string
	for i := range 100 {
		users = append(users, fmt.Sprintf("user%d", i))
	}
	d := newDovecot(t, users...)
	c := d.start(q, Config{})
	sweepAll(t, c)
	for _, user := range users {
		d.deliver(user, "missed")
	}
	d.mu.Lock()
	d.fail = func(user string) error {
		if user == "user17" {
			return registration.ErrMail
		}
		return nil
	}
	d.mu.Unlock()
	p := sweepAll(t, c)
	assert.Equal(t, 99, p.Found)
	assert.Equal(t, 1, p.Failed)
	d.mu.Lock()
	d.fail = func(string) error { return registration.ErrTemporary }
	d.mu.Unlock()
	_, err := c.Sweep(t.Context(), nil, nil)
	require.ErrorIs(t, err, registration.ErrTemporary)
	assert.ErrorIs(t, c.Status().Err, registration.ErrTemporary)
	d.mu.Lock()
	d.fail = nil
	d.mu.Unlock()
	assert.Equal(t, 1, sweepAll(t, c).Found)
	assert.NoError(t, c.Status().Err)
	assert.Len(t, told(t, q), 100)
}

// Several users are served at the same time: one whose mailbox takes long does not
// hold up the next.
func TestSlowMailbox(t *testing.T) {
	q := open(t, t.TempDir())
	d := newDovecot(t, "alice", "bob", "carol")
	release := make(chan struct{})
	d.reads = func(user string) {
		if user == "alice" {
			<-release
		}
	}
	c := d.start(q, Config{})
	sweepAll(t, c)
	for _, user := range d.users() {
		d.deliver(user, "missed")
	}
	var sweeping sync.WaitGroup
	sweeping.Go(func() { assert.Equal(t, 3, sweepAll(t, c).Found) })
	var all []string
	require.Eventually(t, func() bool {
		all = slices.AppendSeq(all, maps.Keys(told(t, q)))
		return len(all) == 2
	}, patience, 10*time.Millisecond)
	assert.NotContains(t, all, "alice missed")
	close(release)
	sweeping.Wait()
	assert.Equal(t, map[string]int{"alice missed": 1}, told(t, q))
}

// What was removed from the queue before it was read ends the reading, and the
// next one starts again: the mails it was of are not told a second time.
func TestGap(t *testing.T) {
	dir := t.TempDir()
	q := open(t, dir)
	d := newDovecot(t, "alice")
	b := newBook(q.Journal(Name), new(notification.Decoder), slog.New(slog.DiscardHandler))
	require.NoError(t, b.load(t.Context()))
	require.NoError(t, q.Reconcile(t.Context(), queuetest.Config(dir)))
	d.report(q, "alice", d.deliver("alice", "removed"), false)
	require.Equal(t, map[string]int{"alice removed": 1}, told(t, q))
	require.Eventually(t, func() bool {
		_, err := q.Stats(t.Context(), nil) // removes it
		require.NoError(t, err)
		first, _, err := b.journal.Kept(t.Context())
		return err == nil && first == 2
	}, patience, 10*time.Millisecond)
	require.NoError(t, q.Reconcile(t.Context(), config(dir)))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.ErrorIs(t, b.run(ctx), errGap)

	c := d.start(q, Config{})
	assert.Zero(t, sweepAll(t, c).Found)
	d.deliver("alice", "missed")
	assert.Equal(t, 1, sweepAll(t, c, "alice").Found)
	assert.Equal(t, map[string]int{"alice missed": 1}, told(t, q))
}
