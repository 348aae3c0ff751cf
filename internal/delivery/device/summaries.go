// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package device

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// summaryInterval is how often [Summaries] look for devices that are no longer quiet
// or muted. It is longer than instances gather what they hold: a device that is seen
// twice has no more to come.
const summaryInterval = subscription.HoldInterval + time.Second

// summariesAtOnce bounds how many are parked together.
const summariesAtOnce = 256

const (
	// summaryClaimers is how many users are looked at together.
	summaryClaimers = 8
	// askFor is how long the mail server is asked what was read meanwhile, of all
	// whose quiet hours end at the same time, and askTimeout is how long of one.
	// Summaries of the others are sent without asking.
	askFor     = time.Minute
	askTimeout = 5 * time.Second
)

// Summaries have one summary sent to each device that is no longer quiet or muted,
// and of which something was held back meanwhile.
//
// A summary is a notification of its own [notification.Silence], parked for the target
// and the device alone: it is attempted, repeated and paused like any other. What it
// says stays with the device until it has been sent. Instances that share a store may
// all look; the first one to claim a device there has its summary sent.
type Summaries struct {
	Subscriptions *subscription.Store
	// Targets are the names of the targets, by the name of the kind of their devices.
	Targets map[string]string
	// Park is that of the queue.
	Park   func(ctx context.Context, target string, p queue.Parked) error
	Logger *slog.Logger
	// Unseen, if set, asks the mail server how many mails of the INBOX of a user are
	// unseen: a summary leaves out what was read meanwhile.
	Unseen func(ctx context.Context, user string) (uint32, error)

	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Start begins to look. It does not wait.
func (s *Summaries) Start() {
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.wg.Go(func() { s.run(ctx) })
}

// Stop ends it. It may be called more than once, and without Start.
func (s *Summaries) Stop() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.wg.Wait()
}

// owner names a device.
type owner struct{ user, id string }

func (s *Summaries) run(ctx context.Context) {
	tick := time.NewTicker(summaryInterval)
	defer tick.Stop()
	seen := make(map[owner]bool) // without silence, at the last look
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			seen = s.look(ctx, seen)
		}
	}
}

// look asks for the summaries of devices that were without silence before, and returns
// those that are now.
func (s *Summaries) look(ctx context.Context, before map[owner]bool) (now map[owner]bool) {
	now = make(map[owner]bool)
	byUser := make(map[string][]subscription.Subscription)
	for _, awake := range s.Subscriptions.Awake() {
		of := owner{awake.User, awake.Device.ID}
		now[of] = true
		if before[of] && s.Targets[awake.Device.Kind.Name()] != "" {
			byUser[awake.User] = append(byUser[awake.User], awake.Device)
		}
	}
	if len(byUser) == 0 {
		return now
	}
	asking, cancel := context.WithTimeout(ctx, askFor)
	defer cancel()
	users, parking := make(chan string), newParking(s)
	var claimers sync.WaitGroup
	for range min(summaryClaimers, len(byUser)) {
		claimers.Go(func() {
			for user := range users {
				parking.add(ctx, user, s.claim(ctx, asking, user, byUser[user]))
			}
		})
	}
	for user := range byUser {
		if ctx.Err() == nil {
			users <- user
		}
	}
	close(users)
	claimers.Wait()
	parking.end(ctx)
	return now
}

// claim returns the devices of a user that this instance has claimed. The mail server
// is asked until asking ends.
func (s *Summaries) claim(ctx, asking context.Context, user string, devices []subscription.Subscription) (claimed []subscription.Subscription) {
	ids := make([]string, len(devices))
	for i := range devices {
		ids[i] = devices[i].ID
	}
	ours, err := s.Subscriptions.Claim(ctx, user, ids, s.ask(asking, user))
	if err != nil {
		s.Logger.Debug("what was held back cannot be claimed; it is tried again", "error", err)
		return nil
	}
	return slices.DeleteFunc(slices.Clone(devices), func(d subscription.Subscription) bool { return !slices.Contains(ours, d.ID) })
}

// ask returns how many mails of the INBOX of a user are unseen, or nil if that cannot
// be said in time.
func (s *Summaries) ask(ctx context.Context, user string) *uint32 {
	if s.Unseen == nil || ctx.Err() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	unseen, err := s.Unseen(ctx, user)
	if err != nil {
		s.Logger.Debug("the mail server does not say what was read meanwhile", "error", err)
		return nil
	}
	return &unseen
}

// parking gathers what is parked for each target.
type parking struct {
	*Summaries
	mu      sync.Mutex
	records map[string][]queue.Record // by target
}

func newParking(s *Summaries) *parking {
	return &parking{Summaries: s, records: make(map[string][]queue.Record)}
}

func (p *parking) add(ctx context.Context, user string, devices []subscription.Subscription) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range devices {
		target := p.Targets[d.Kind.Name()]
		if p.records[target] = append(p.records[target], newSummary(user, d.ID)); len(p.records[target]) >= summariesAtOnce {
			p.park(ctx, target, p.records[target])
			p.records[target] = nil
		}
	}
}

func (p *parking) end(ctx context.Context) {
	for target, left := range p.records {
		p.park(ctx, target, left)
	}
}

// park has summaries sent, also if they were claimed just before the end.
func (s *Summaries) park(ctx context.Context, target string, records []queue.Record) {
	if len(records) == 0 {
		return
	}
	err := s.Park(context.WithoutCancel(ctx), target, queue.Parked{Records: records, Due: time.Now(), Reason: string(notification.Silence)})
	if err != nil {
		s.Logger.Error("the queue cannot store summaries of what was held back: they are tried again later", "error", err)
	}
}

// newSummary is the notification that has the summary of a device sent.
func newSummary(user, id string) queue.Record {
	n := notification.Notification{User: user, Folder: "INBOX", Event: notification.MessageNew}
	body, _ := json.Marshal(struct { // strings
		User   string `json:"user"`
		Event  string `json:"event"`
		Folder string `json:"folder"`
		UID    uint32 `json:"imap-uid"`
	}{n.User, string(n.Event), n.Folder, n.UID})
	n.Folder = "\x00" + string(notification.Silence) // the order of mails does not matter for it
	r := queue.Record{Mailbox: n.Mailbox(), Accepted: time.Now(), Destination: id, Source: notification.Silence, Body: body}
	_, _ = rand.Read(r.ID[:])
	return r
}
