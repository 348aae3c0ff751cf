// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// laggard is a user who has mails that were not reported.
type laggard struct {
	user
	name    string // in notifications
	mailbox notification.Mailbox
	box     Mailbox
	at      time.Time // when box was read
	// begun tells that missing was found out, and rest what of it was not looked
	// through yet.
	begun   bool
	rest    spans
	chosen  []uint32 // UIDs to tell, the newest first
	skipped int      // for too many
}

// ready is when Dovecot has had its time to report the user's mails itself.
func (l *laggard) ready(s *sweep) time.Time {
	if l.refused {
		return l.at.Add(s.refusedSettle)
	}
	return l.at.Add(s.settle)
}

// serve tells some of a user's mails; more reports whether there are others. Several
// users are served at the same time.
func (s *sweep) serve(ctx context.Context, l *laggard) (more bool, err error) {
	if !l.begun {
		l.begun = true
		s.book.with(l.mailbox, func(m *mark) *mark {
			if m != nil {
				l.rest = m.missing(l.box.UIDNext)
			}
			return nil
		})
		if n := l.rest.count(); n <= uint64(min(turnMails, s.cfg.Max)) {
			l.chosen, l.rest = listed(l.rest), nil
		}
	}
	if len(l.rest) > 0 && len(l.chosen) < s.cfg.Max {
		return true, s.choose(ctx, l)
	}
	if n := l.rest.count(); n > 0 || len(l.chosen) > s.cfg.Max { // older than those that are told
		l.skipped = int(min(n, 1<<31)) + max(len(l.chosen)-s.cfg.Max, 0)
		l.chosen, l.rest = l.chosen[:min(len(l.chosen), s.cfg.Max)], nil
		s.leftOut(ReasonTooMany, l.skipped)
		s.cfg.Logger.Warn("a user has more mails that Dovecot did not report than are told; the newest are", "told", len(l.chosen),
			"left_out_at_most", l.skipped, "max", s.cfg.Max)
	}
	if len(l.chosen) > 0 {
		if err := s.tellSome(ctx, l); err != nil || len(l.chosen) > 0 {
			return err == nil, err
		}
	}
	s.book.with(l.mailbox, func(m *mark) *mark {
		if m != nil && m.settle(l.box.UIDNext, l.at) {
			return m
		}
		return nil
	})
	return false, nil
}

// await waits until the time, and until the marks have all that was accepted
// before it.
func (s *sweep) await(ctx context.Context, until time.Time) error {
	pause(ctx, time.Until(until))
	if !s.current.Before(until) {
		return nil
	}
	now := time.Now()
	if err := s.book.current(ctx); err != nil {
		return err
	}
	s.current = now
	return nil
}

// listed are single UIDs, the newest first.
func listed(all spans) (uids []uint32) {
	for _, x := range slices.Backward(all) {
		for uid := x.last; ; uid-- {
			uids = append(uids, uid)
			if uid == x.first {
				break
			}
		}
	}
	return uids
}

// choose looks through the newest mails that were not looked through yet.
func (s *sweep) choose(ctx context.Context, l *laggard) error {
	part, rest := l.rest.takeLast(scanMails)
	messages, _, err := s.cfg.Source.Messages(ctx, l.login, l.box.UIDValidity, uidsOf(part))
	if err != nil {
		return err
	}
	l.rest = rest
	for _, m := range slices.Backward(messages) {
		if reason := s.unwanted(&m); reason != "" {
			s.leftOut(reason, 1)
			continue
		}
		l.chosen = append(l.chosen, m.UID)
	}
	return nil
}

func uidsOf(all spans) []UIDs {
	uids := make([]UIDs, len(all))
	for i, x := range all {
		uids[i] = UIDs{x.first, x.last}
	}
	return uids
}

// unwanted is why a mail is not told, or empty.
func (s *sweep) unwanted(m *Message) Reason {
	switch {
	case m.Seen && !s.cfg.Seen:
		return ReasonSeen
	case s.cfg.MaxAge > 0 && time.Since(m.Received) > s.cfg.MaxAge:
		return ReasonOld
	case !s.cfg.Appended && m.appended():
		return ReasonAppended
	}
	return ""
}

func (s *sweep) leftOut(reason Reason, mails int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.LeftOut[reason] += mails
	s.cfg.Observe.LeftOut(reason, mails)
}

// tellSome tells the oldest of the chosen mails, as they are now.
func (s *sweep) tellSome(ctx context.Context, l *laggard) error {
	from := max(len(l.chosen)-turnMails, 0)
	part := spans(nil)
	for _, uid := range l.chosen[from:] {
		part = part.add(uid)
	}
	messages, box, err := s.cfg.Source.Messages(ctx, l.login, l.box.UIDValidity, uidsOf(part))
	if err != nil {
		return err
	}
	if box.UIDValidity != l.box.UIDValidity { // created again in the meantime
		l.chosen = nil
		return nil
	}
	slices.SortFunc(messages, func(a, b Message) int { return int(int64(a.UID) - int64(b.UID)) })
	for i := range messages {
		if err := s.accept(ctx, l, &messages[i], box); err != nil {
			return err
		}
	}
	l.chosen = l.chosen[:from]
	return nil
}

// accept accepts the notification of one mail, if it is to be told.
func (s *sweep) accept(ctx context.Context, l *laggard, m *Message, box Mailbox) error {
	body := m.body(l.name, box)
	n, err := s.cfg.Decoder.Decode(body)
	if err != nil { // a name that no notification can have
		s.leftOut(ReasonTooLarge, 1)
		return nil
	}
	accepted, reported := false, false
	s.book.with(l.mailbox, func(k *mark) *mark {
		if k == nil {
			return nil
		}
		if accepted = k.has(m.UID); accepted {
			return nil
		}
		if reported = k.recognize(headersOf(n)); reported {
			k.accept(m.UID)
			return k
		}
		return nil
	})
	if accepted || reported {
		return nil
	}
	if reason := s.unwanted(m); reason != "" {
		s.leftOut(reason, 1)
		return nil
	}
	id, window := n.Identity(body, "")
	duplicate, err := s.cfg.Queue.Accept(ctx, queue.Record{
		ID: id, Mailbox: l.mailbox, UID: m.UID, Accepted: time.Now(), Source: notification.CatchUp, Body: body,
	}, window)
	switch {
	case errors.Is(err, queue.ErrTooLarge):
		s.leftOut(ReasonTooLarge, 1)
	case err != nil:
		return err
	case !duplicate:
		s.cfg.Observe.Found()
		s.found(m)
	}
	return nil
}

func (s *sweep) found(m *Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress.Found++
	if s.progress.Oldest.IsZero() || m.Received.Before(s.progress.Oldest) {
		s.progress.Oldest = m.Received
	}
}
