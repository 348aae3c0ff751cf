// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// look reads the mailboxes of users.
func (s *sweep) look(ctx context.Context, users []user) error {
	byLogin := make(map[string]user, len(users))
	var alone []string
	for _, u := range users {
		byLogin[u.login] = u
	}
	var listing []string
	if len(users) >= listFrom && s.cfg.List != nil {
		var err error
		listing, err = s.cfg.List(ctx)
		if err != nil && !errors.Is(err, registration.ErrCannotList) {
			return err
		}
	}
	if len(listing) > 0 {
		rest := maps.Clone(byLogin)
		for group := range registration.Groups(listing) {
			if err := s.lookAtGroup(ctx, group, byLogin, rest); err != nil {
				return err
			}
		}
		alone = slices.Sorted(maps.Keys(rest)) // not listed, or gone since
	} else {
		for _, u := range users {
			alone = append(alone, u.login)
		}
	}
	looking, ctx := errgroup.WithContext(ctx)
	looking.SetLimit(together)
	for _, login := range alone {
		if ctx.Err() != nil {
			break
		}
		looking.Go(func() error { return s.lookAt(ctx, byLogin[login]) })
	}
	return looking.Wait()
}

// lookAtGroup reads the mailboxes of a group with one request, and removes those
// it has read from rest. A single user whose mailbox is broken spoils the answer
// for the whole group, so that it is tried in parts then.
func (s *sweep) lookAtGroup(ctx context.Context, group registration.Group, byLogin, rest map[string]user) error {
	var users []string
	for _, login := range group.Users {
		if _, ok := byLogin[login]; ok {
			users = append(users, login)
		}
	}
	if !group.Pays(len(users)) {
		return nil // they are left in rest
	}
	at := time.Now()
	reading, cancel := context.WithTimeout(ctx, readTimeout)
	boxes, err := s.cfg.Source.Mailboxes(reading, group.Mask)
	cancel()
	_, all := registration.ReasonOf(err)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		for _, login := range users {
			if box, ok := boxes[login]; ok {
				s.compare(byLogin[login], box, at)
				delete(rest, login)
			}
		}
		s.tell(false)
		return nil
	case errors.Is(err, registration.ErrCannotList):
		return nil
	case all && !errors.Is(err, registration.ErrMail):
		return err
	}
	for part := range group.Smaller() {
		if err := s.lookAtGroup(ctx, part, byLogin, rest); err != nil {
			return err
		}
	}
	return nil
}

// lookAt reads the mailbox of one user. Several are read at the same time.
func (s *sweep) lookAt(ctx context.Context, u user) error {
	at := time.Now()
	box, err := s.cfg.Source.Mailbox(ctx, u.login)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		s.compare(u, box, at)
	case errors.Is(err, registration.ErrUnknownUser):
		s.progress.Done++ // the registration says so
	case s.failed(ctx, err):
		return err
	default:
		s.progress.Done++
	}
	s.tell(false)
	return nil
}

// compare compares a mailbox with its mark. Mailboxes that are seen for the
// first time, or again after they were created again, start with their current
// mails.
func (s *sweep) compare(u user, box Mailbox, at time.Time) {
	s.progress.Done++
	if box.UIDNext == 0 || box.UIDValidity == 0 {
		return
	}
	name, mailbox := s.book.find(u.names, box.UIDValidity)
	isBehind := false
	s.book.with(mailbox, func(m *mark) *mark {
		if m == nil || !m.based {
			if m == nil {
				m = new(mark)
			}
			m.swept = s.number
			m.settle(box.UIDNext, time.Time{})
			return m
		}
		m.swept = s.number
		if isBehind = len(m.missing(box.UIDNext)) > 0; !isBehind && m.settle(box.UIDNext, at) {
			return m
		}
		return nil
	})
	if isBehind {
		s.progress.Behind++
		s.behind = append(s.behind, &laggard{user: u, name: name, mailbox: mailbox, box: box, at: at})
	}
}
