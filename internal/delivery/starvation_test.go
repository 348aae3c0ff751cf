// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

// inVirtualTime runs a test with a real store, by a clock that waits for
// nobody, and with the times that are used in earnest.
func inVirtualTime(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	withSchedule(t, 5*time.Second, 30*time.Second, 2*time.Minute, 10*time.Minute, 30*time.Minute, time.Hour)
	oldProbes, oldPostpone := probes, maxPostpone
	probes = []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second}
	maxPostpone = time.Minute
	t.Cleanup(func() { probes, maxPostpone = oldProbes, oldPostpone })
	queuetest.InVirtualTime(t, test)
}

// people is a target where each mailbox is that of somebody with some devices,
// or with none where the target has no destinations.
type people struct {
	mu      sync.Mutex
	devices map[notification.Mailbox][]string
	// answer is for the attempt-th time that something is delivered to an
	// item: a device, or "mailbox <number>".
	answer   func(item string, attempt int) Result
	attempts map[string]int
	arrived  map[string]map[int]time.Time // by item and number of the mail
}

func newPeople(answer func(item string, attempt int) Result) *people {
	return &people{
		devices: make(map[notification.Mailbox][]string), answer: answer,
		attempts: make(map[string]int), arrived: make(map[string]map[int]time.Time),
	}
}

func (p *people) destinations(_ context.Context, r *queue.Record) (all []Destination, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.devices[r.Mailbox] {
		all = append(all, Destination{Key: d, Service: "push.test"})
	}
	return all, nil
}

func (p *people) Deliver(_ context.Context, r *queue.Record) Result {
	item := r.Destination
	if item == "" {
		item = fmt.Sprint("mailbox ", r.Mailbox)
	}
	p.mu.Lock()
	n := p.attempts[item]
	p.attempts[item]++
	p.mu.Unlock()
	time.Sleep(20 * time.Millisecond) // the way there and back
	result := p.answer(item, n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if result.Outcome == Delivered {
		if p.arrived[item] == nil {
			p.arrived[item] = make(map[int]time.Time)
		}
		p.arrived[item][int(binary.BigEndian.Uint64(r.ID[:]))] = time.Now()
	}
	return result
}

// arrival is when the mail with that number came to an item.
func (p *people) arrival(item string, number int) (at time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok = p.arrived[item][number]
	return at, ok
}

// mail is one that comes for somebody.
type mail struct {
	to     notification.Mailbox
	before time.Duration // the time since the mail before
}

// requirePrompt delivers mails, and requires that each comes to those who are
// well within a second.
func requirePrompt(t *testing.T, p *people, target Target, mails []mail, well func(notification.Mailbox) []string) {
	t.Helper()
	q, _ := testQueue(t)
	e := startTargets(t, q, nil, target)
	sent := make([]time.Time, len(mails))
	for n, m := range mails {
		time.Sleep(m.before)
		sent[n] = time.Now()
		r := numbered(n)
		r.Mailbox, r.UID = m.to, uint32(n+1)
		_, err := q.Accept(context.Background(), r, time.Minute)
		require.NoError(t, err)
	}
	time.Sleep(time.Second)
	var late []string
	for n, m := range mails {
		for _, item := range well(m.to) {
			if at, ok := p.arrival(item, n); !ok {
				late = append(late, fmt.Sprintf("%s: mail %d did not come", item, n))
			} else if delay := at.Sub(sent[n]); delay >= time.Second {
				late = append(late, fmt.Sprintf("%s: mail %d came after %s", item, n, delay))
			}
		}
	}
	e.Stop()
	require.NoError(t, q.Close())
	require.Empty(t, late, "of %d mails: %d", len(mails), len(late))
}

// Somebody has devices that can never be served; the others at the same push
// service get their mail at once, whatever the ill ones answer and however many
// they are.
func TestFailingDevicesHoldUpNobody(t *testing.T) {
	type row struct{ devices, oneIn int }
	all, few := []row{{1, 10}, {3, 10}, {4, 2}, {6, 5}, {20, 10}}, []row{{4, 2}, {20, 10}}
	for name, c := range map[string]struct {
		ill  Result
		rows []row
	}{
		"403":             {Result{Outcome: Misconfigured, Fault: FaultOfItem, Reason: "status_403"}, all},
		"key not there":   {Result{Fault: FaultOfOurs, Reason: "vapid_key_unknown"}, few},
		"500":             {Result{Reason: "status_500"}, few},
		"403, of a proxy": {Result{Outcome: Misconfigured, Reason: "status_403"}, few},
		"no connection":   {Result{Fault: FaultOfService, Reason: "connect"}, few},
	} {
		ill := c.ill
		for _, c := range c.rows {
			t.Run(fmt.Sprintf("%s/%d devices, one in %d", name, c.devices, c.oneIn), func(t *testing.T) {
				inVirtualTime(t, func(t *testing.T) {
					p := newPeople(func(item string, _ int) Result {
						if strings.HasPrefix(item, "ill") {
							return ill
						}
						return Result{Outcome: Delivered}
					})
					for n := range c.devices {
						p.devices[1] = append(p.devices[1], fmt.Sprint("ill", n))
					}
					for u := range 4 {
						p.devices[notification.Mailbox(2+u)] = []string{fmt.Sprint("well", u)}
					}
					var mails []mail
					for n := range 80 {
						m := mail{notification.Mailbox(2 + n%4), 100 * time.Millisecond}
						if n%c.oneIn == 0 {
							m.to = 1
						}
						mails = append(mails, m)
					}
					target := Target{Name: "devices", Deliverer: p, Destinations: p.destinations}
					requirePrompt(t, p, target, mails, func(m notification.Mailbox) []string {
						if m == 1 {
							return nil
						}
						return p.devices[m]
					})
				})
			})
		}
	}
}

// anyResult is everything that a target can answer.
func anyResult() *rapid.Generator[Result] {
	return rapid.Custom(func(t *rapid.T) Result {
		return Result{
			Outcome: rapid.SampledFrom([]Outcome{TryAgain, Delivered, Refused, Misconfigured, Gone}).Draw(t, "outcome"),
			Fault:   rapid.SampledFrom([]Fault{FaultUnknown, FaultOfItem, FaultOfService, FaultOfOurs}).Draw(t, "fault"),
			Reason:  "drawn",
		}
	})
}

// Whatever the attempts at others end with, what always works gets its mail
// within a second: devices at one push service, and users of one target.
func TestWhateverOthersAnswer(t *testing.T) {
	queuetest.Checks(t, 15)
	for name, devices := range map[string]bool{"devices": true, "users": false} {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				others := rapid.IntRange(1, 12).Draw(rt, "others")
				wells := rapid.IntRange(1, 3).Draw(rt, "wells")
				scripts := make([][]Result, others)
				for i := range scripts {
					scripts[i] = rapid.SliceOfN(anyResult(), 1, 5).Draw(rt, "answers")
				}
				var mails []mail
				for u := range wells { // they are known to work
					mails = append(mails, mail{to: notification.Mailbox(1000 + u)})
				}
				mails = append(mails, rapid.SliceOfN(rapid.Custom(func(t *rapid.T) mail {
					to := rapid.IntRange(1, others+wells).Draw(t, "to")
					if to > others {
						to += 999 - others
					}
					gap := rapid.SampledFrom([]time.Duration{0, 0, 10 * time.Millisecond, time.Second, time.Minute}).Draw(t, "gap")
					return mail{notification.Mailbox(to), gap}
				}), 1, 60).Draw(rt, "mails")...)
				inVirtualTime(t, func(t *testing.T) {
					p := newPeople(func(item string, attempt int) Result {
						var n int
						_, err := fmt.Sscanf(item, "mailbox %d", &n)
						require.NoError(t, err)
						if n >= 1000 {
							return Result{Outcome: Delivered}
						}
						return scripts[n-1][attempt%len(scripts[n-1])]
					})
					target := Target{Name: "a", Deliverer: p}
					if devices {
						target.Destinations = p.destinations
						for _, m := range mails {
							p.devices[m.to] = []string{fmt.Sprint("mailbox ", m.to)}
						}
					}
					requirePrompt(t, p, target, mails, func(m notification.Mailbox) []string {
						if m < 1000 {
							return nil
						}
						return []string{fmt.Sprint("mailbox ", m)}
					})
				})
			})
		})
	}
}
