// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

const (
	// settleTime is how long a mail is left to Dovecot, which assigns the UID
	// before it reports the mail, and makes two attempts of two seconds.
	settleTime = 5 * time.Second
	// refusedSettleTime is that of a user whose notification was refused: Dovecot
	// attempts it once more within a second.
	refusedSettleTime = 2 * time.Second
	// listFrom is how many users must be looked at for a list of all users to
	// be worth a request.
	listFrom = 50
	// turnMails is how many mails of one user are told until it is another
	// one's turn, scanMails how many are looked through.
	turnMails = 10
	scanMails = 200
	// together is how many users are served at the same time. Most of the time is
	// spent by Dovecot, which starts a process for each request.
	together = 4
	// readTimeout bounds a request that reads many mailboxes.
	readTimeout = time.Minute
	// queuePause is how long a sweep waits for a queue that takes nothing.
	queuePause = time.Second
	// keepMarks is how long marks are kept that no sweep has found in use.
	keepMarks = 7 * 24 * time.Hour
	// progressInterval is how often a sweep tells how far it is.
	progressInterval = time.Second
)

// sweep is one look at many users.
type sweep struct {
	*Catcher
	book     *book
	number   uint32
	requests []request
	all      bool
	told     time.Time // when progress was told last

	mu       sync.Mutex // of the next two while several users are looked at or served
	progress Progress
	behind   []*laggard
	// current is up to when the marks have what was accepted.
	current time.Time
}

// user is one who is looked at.
type user struct {
	login string
	names []string
	// refused tells that a notification was.
	refused bool
}

func newSweep(c *Catcher, b *book, number uint32, requests []request) *sweep {
	s := &sweep{Catcher: c, book: b, number: number, requests: requests}
	s.progress = Progress{Trigger: requests[0].why, Started: time.Now().UTC(), LeftOut: make(map[Reason]int)}
	for _, r := range requests {
		s.all = s.all || r.all
	}
	return s
}

// run looks at all users that were asked for. Those that are behind are served
// after everybody was looked at, each for a while and then the next.
func (s *sweep) run(ctx context.Context) error {
	users, err := s.users(ctx)
	if err != nil {
		return fmt.Errorf("reading who is registered: %w", err)
	}
	s.progress.Users = len(users)
	s.tell(true)
	if err := s.look(ctx, users); err != nil {
		return err
	}
	for len(s.behind) > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.round(ctx); err != nil {
			return err
		}
		s.tell(false)
	}
	if s.all && s.progress.Failed == 0 {
		s.book.forget(s.number, time.Now().Add(-keepMarks))
	}
	return nil
}

// round serves the first of those who are behind, at the same time. Who has more
// mails, or came when the queue took nothing, is served again later.
func (s *sweep) round(ctx context.Context) error {
	now := s.behind[:min(len(s.behind), together)]
	s.behind = slices.Clone(s.behind[len(now):])
	more, errs := make([]bool, len(now)), make([]error, len(now))
	var serving sync.WaitGroup
	for i, l := range now {
		if errs[i] = s.await(ctx, l.ready(s)); errs[i] == nil {
			serving.Go(func() { more[i], errs[i] = s.serve(ctx, l) })
		}
	}
	serving.Wait()
	var full error
	var again []*laggard
	for i, l := range now {
		switch err := errs[i]; {
		case queueFailed(err) && ctx.Err() == nil:
			full, again = err, append(again, l)
		case err != nil && s.failed(ctx, err):
			return err
		case more[i]:
			s.behind = append(s.behind, l)
		}
	}
	s.behind = append(again, s.behind...)
	if full != nil {
		s.awaitQueue(ctx, full)
		return nil
	}
	s.progress.Error = ""
	return nil
}

// users returns who is to be looked at: those that were named first, in this
// order.
func (s *sweep) users(ctx context.Context) ([]user, error) {
	var named []string
	order, refused := make(map[string]int), make(map[string]bool)
	for _, r := range s.requests {
		for _, login := range r.users {
			refused[login] = refused[login] || r.why == Writable
			if _, ok := order[login]; !ok {
				order[login] = len(named)
				named = append(named, login)
			}
		}
	}
	if !s.all && s.cfg.Find != nil {
		if users, ok := s.findAll(ctx, named, refused); ok {
			return users, nil
		}
	}
	first := make([]user, len(named))
	var rest []user
	for n, err := range s.cfg.Users(ctx) {
		if err != nil {
			return nil, err
		}
		u := user{login: n.User, names: n.Names}
		at, ok := -1, false
		for _, name := range append(slices.Clip(n.Names), n.User) { // a refused one was reported under its name
			if at, ok = order[name]; ok {
				break
			}
		}
		switch {
		case ok:
			u.refused = refused[named[at]]
			first[at] = u
		case s.all:
			rest = append(rest, u)
		}
	}
	slices.SortFunc(rest, func(a, b user) int { return strings.Compare(a.login, b.login) })
	first = slices.DeleteFunc(first, func(u user) bool { return u.login == "" })
	return append(first, rest...), nil
}

// findAll looks few users up, without reading who is registered.
func (s *sweep) findAll(ctx context.Context, named []string, refused map[string]bool) (users []user, ok bool) {
	if len(named) > listFrom {
		return nil, false
	}
	for _, name := range named {
		n, ok := s.cfg.Find(ctx, name)
		if !ok {
			return nil, false
		}
		users = append(users, user{login: n.User, names: n.Names, refused: refused[name]})
	}
	return users, true
}

// failed notes a failure, and reports whether it concerns all users.
func (s *sweep) failed(ctx context.Context, err error) bool {
	if ctx.Err() != nil {
		return true
	}
	reason, all := registration.ReasonOf(err)
	s.cfg.Observe.Failed(string(reason))
	s.progress.Failed++
	return all
}

// awaitQueue waits a moment for a queue that takes nothing.
func (s *sweep) awaitQueue(ctx context.Context, err error) {
	if s.progress.Error == "" {
		s.cfg.Observe.Failed("queue")
		s.cfg.Logger.Warn("the queue does not take what was found: it is waited for", "error", err)
		s.progress.Error = err.Error()
	}
	s.tell(false)
	pause(ctx, queuePause)
}

func queueFailed(err error) bool {
	return errors.Is(err, queue.ErrFull) || errors.Is(err, queue.ErrUnavailable) || errors.Is(err, queue.ErrClosed)
}

// tell tells those who wait how far the sweep is, now or when some time has
// passed.
func (s *sweep) tell(now bool) {
	if !now && time.Since(s.told) < progressInterval {
		return
	}
	s.told = time.Now()
	p := s.snapshot()
	if s.all {
		s.state.note(p)
	}
	for _, r := range s.requests {
		if r.progress != nil {
			r.progress(p)
		}
	}
}

func (s *sweep) snapshot() Progress {
	p := s.progress
	p.LeftOut = maps.Clone(p.LeftOut)
	p.Waiting = len(s.behind)
	return p
}

// finish reports the result of the sweep.
func (s *sweep) finish(ctx context.Context, err error) {
	s.progress.Ended = time.Now().UTC()
	if err != nil {
		s.progress.Error = err.Error()
	}
	p := s.snapshot()
	repeats := s.state.repeats(err)
	if ctx.Err() == nil {
		s.state.end(p, s.all, err)
	}
	for _, r := range s.requests {
		if r.done != nil {
			r.done <- outcome{progress: p, err: err}
		}
	}
	facts := []any{
		"trigger", string(p.Trigger), "users", p.Users, "behind", p.Behind, "found", p.Found,
		"took", p.Ended.Sub(p.Started).Round(time.Millisecond),
	}
	for _, reason := range Reasons {
		if n := p.LeftOut[reason]; n > 0 {
			facts = append(facts, "left_out_"+string(reason), n)
		}
	}
	if p.Failed > 0 {
		facts = append(facts, "failed", p.Failed)
	}
	switch {
	case ctx.Err() != nil:
	case err != nil && repeats: // it was said
	case err != nil:
		s.cfg.Logger.Warn("the mailboxes cannot be compared with what Dovecot reported; it is attempted again", append(facts, "error", err)...)
	case p.Found > 0:
		s.cfg.Logger.Warn("found new mails that Dovecot did not report, and accepted notifications of them", facts...)
	default:
		s.cfg.Logger.Debug("nothing was missed", facts...)
	}
}
