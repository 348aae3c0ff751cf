// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue/queuetest"
)

// plan is what happens to one target.
type plan struct {
	devices  bool // each mailbox has one, at the same push service
	coalesce time.Duration
	// answers are those to the first attempts for each mailbox; all later ones
	// are delivered. A mailbox without any always works.
	answers [][]Result
	mails   []mail // to mailboxes from 1 on
}

func anyPlan() *rapid.Generator[plan] {
	return rapid.Custom(func(t *rapid.T) plan {
		p := plan{
			devices:  rapid.Bool().Draw(t, "devices"),
			coalesce: rapid.SampledFrom([]time.Duration{0, 10 * time.Second}).Draw(t, "coalesce"),
		}
		well, ill := rapid.IntRange(1, 3).Draw(t, "well"), rapid.IntRange(1, 5).Draw(t, "ill")
		p.answers = make([][]Result, well)
		for range ill {
			p.answers = append(p.answers, rapid.SliceOfN(anyResult(), 1, 4).Draw(t, "answers"))
		}
		for m := range well { // they are known to work
			p.mails = append(p.mails, mail{to: notification.Mailbox(1 + m)})
		}
		p.mails = append(p.mails, rapid.SliceOfN(rapid.Custom(func(t *rapid.T) mail {
			from := rapid.SampledFrom([]int{1, 1 + well}).Draw(t, "from") // more often to one that is ill
			return mail{
				to:     notification.Mailbox(rapid.IntRange(from, well+ill).Draw(t, "to")),
				before: rapid.SampledFrom([]time.Duration{0, 0, 0, 10 * time.Millisecond, time.Second, 7 * time.Second, time.Minute}).Draw(t, "gap"),
			}
		}), 20, 60).Draw(t, "mails")...)
		return p
	})
}

// Whatever a target answers, each notification ends once, in the way that the
// last answer says. What works gets its mails at once and in their order. With
// coalescing, the attempts of a mailbox keep their distance, nothing old comes
// after something new, and the newest always comes.
func TestModel(t *testing.T) {
	queuetest.Checks(t, 8)
	rapid.Check(t, func(rt *rapid.T) {
		p := anyPlan().Draw(rt, "plan")
		var err error
		inVirtualTime(t, func(t *testing.T) { err = runPlan(t, p) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

// tried is an attempt for a mailbox.
type tried struct {
	number     int
	outcome    Outcome
	start, end time.Time
}

// planned is the target.
type planned struct {
	plan

	mu       sync.Mutex
	attempts map[notification.Mailbox][]tried
	open     map[notification.Mailbox]bool
	ends     map[int][]Attempt // by number of the mail
	wrong    error
}

func (p *planned) destinations(_ context.Context, r *queue.Record) ([]Destination, error) {
	return []Destination{{Key: fmt.Sprint("device of ", r.Mailbox), Service: "push.test"}}, nil
}

func (p *planned) Deliver(_ context.Context, r *queue.Record) Result {
	p.mu.Lock()
	if p.open[r.Mailbox] {
		p.wrong = errors.Join(p.wrong, fmt.Errorf("two attempts for mailbox %d at the same time", r.Mailbox))
	}
	p.open[r.Mailbox] = true
	result := Result{Outcome: Delivered}
	if n, answers := len(p.attempts[r.Mailbox]), p.answers[r.Mailbox-1]; n < len(answers) {
		result = answers[n]
	}
	start := time.Now()
	p.mu.Unlock()
	time.Sleep(20 * time.Millisecond) // the way there and back
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open[r.Mailbox] = false
	p.attempts[r.Mailbox] = append(p.attempts[r.Mailbox], tried{number(r.ID), result.Outcome, start, time.Now()})
	return result
}

func (p *planned) observe(a Attempt) {
	if !a.Ended() {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ends[number(a.ID)] = append(p.ends[number(a.ID)], a)
}

func (p *planned) ended() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.ends)
}

func runPlan(t *testing.T, made plan) error {
	p := &planned{
		plan: made, attempts: make(map[notification.Mailbox][]tried), open: make(map[notification.Mailbox]bool), ends: make(map[int][]Attempt),
	}
	cfg := queuetest.Config(t.TempDir())
	q, err := queue.Open(t.Context(), cfg)
	if err != nil {
		return err
	}
	defer func() { require.NoError(t, q.Close()) }()
	target := Target{Name: "a", Deliverer: p, Coalesce: p.coalesce}
	if p.devices {
		target.Destinations = p.destinations
	}
	e, err := New(Config{Queue: q, Targets: []Target{target}, MaxAge: 24 * time.Hour, Logger: cfg.Logger, Observe: p.observe})
	if err != nil {
		return err
	}
	if err := e.Start(t.Context()); err != nil {
		return err
	}
	defer e.Stop()
	sent := make([]time.Time, len(p.mails))
	for n, m := range p.mails {
		time.Sleep(m.before)
		sent[n] = time.Now()
		r := numbered(n)
		r.Mailbox, r.UID = m.to, uint32(n+1)
		if _, err := q.Accept(t.Context(), r, time.Minute); err != nil {
			return err
		}
	}
	for range 60 {
		time.Sleep(time.Minute)
		if p.ended() == len(p.mails) {
			break
		}
	}
	e.Stop()
	var dead []int
	for letter, err := range q.DeadLetters(t.Context(), queue.DeadLetterFilter{}) {
		if err != nil {
			return err
		}
		dead = append(dead, number(letter.Record.ID))
	}
	return errors.Join(p.wrong, p.requireEnds(dead), p.requireOrder(sent))
}

// requireEnds compares how the mails ended with the answers.
func (p *planned) requireEnds(dead []int) (err error) {
	last := make(map[int]Outcome) // answer
	for _, all := range p.attempts {
		for _, a := range all {
			if ended, ok := last[a.number]; ok && (ended == Delivered || ended == Refused || ended == Gone) {
				err = errors.Join(err, fmt.Errorf("mail %d is attempted after it was %s", a.number, ended))
			}
			last[a.number] = a.outcome
		}
	}
	newest := make(map[notification.Mailbox]int)
	for n, m := range p.mails {
		newest[m.to] = n
	}
	slices.Sort(dead)
	for n, m := range p.mails {
		if len(p.ends[n]) != 1 {
			return errors.Join(err, fmt.Errorf("mail %d to mailbox %d ends %d times: %+v", n, m.to, len(p.ends[n]), p.ends[n]))
		}
		end := p.ends[n][0]
		outcome, isTried := last[n]
		_, isDead := slices.BinarySearch(dead, n)
		right := isTried && outcome == end.Result.Outcome
		if end.Coalesced {
			right = p.coalesce > 0 && outcome != Delivered && n != newest[m.to]
		}
		if !right || isDead != end.Dead || isDead != (outcome == Refused) {
			err = errors.Join(err, fmt.Errorf("mail %d to mailbox %d ends with %+v, after %s (dead letter: %v)", n, m.to, end, outcome, isDead))
		}
	}
	if len(slices.Compact(dead)) != len(dead) {
		err = errors.Join(err, fmt.Errorf("dead letters twice: %v", dead))
	}
	return err
}

// requireOrder looks at the mails of each mailbox.
func (p *planned) requireOrder(sent []time.Time) (err error) {
	for m, all := range p.attempts {
		newest, before := -1, tried{}
		for _, a := range all {
			isWell := len(p.answers[m-1]) == 0
			if a.number < newest && (isWell || p.coalesce > 0) && a.outcome == Delivered {
				err = errors.Join(err, fmt.Errorf("mailbox %d gets mail %d after %d", m, a.number, newest))
			}
			if p.coalesce > 0 && before.outcome == Delivered && a.start.Sub(before.end) < p.coalesce {
				err = errors.Join(err, fmt.Errorf("mailbox %d is tried again %s after a delivery", m, a.start.Sub(before.end)))
			}
			if late := a.end.Sub(sent[a.number]); isWell && late > time.Second+p.coalesce {
				err = errors.Join(err, fmt.Errorf("mailbox %d, which works, gets mail %d after %s", m, a.number, late))
			}
			if a.outcome == Delivered {
				newest = max(newest, a.number)
			}
			before = a
		}
	}
	return err
}
