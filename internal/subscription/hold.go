// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

const (
	// HoldInterval is how long what is held for a user is gathered until it is
	// written, together.
	HoldInterval = 2 * time.Second
	// holdTimeout bounds a write.
	holdTimeout = 5 * time.Second
	// holdWriters is how many writes there are at once.
	holdWriters = 8
	// writeFull is how often the number of unseen mails is written of a device that
	// has [MaxHeld] mails.
	writeFull = 15 * time.Minute
	// claimLifetime is when another attempt is made to have a summary sent: an
	// instance may have been killed between its claim and the queue.
	claimLifetime = time.Hour
)

var errStopped = errors.New("the store has stopped")

// Silenced is an event that a device was not notified of.
type Silenced struct {
	Event notification.Event
	Mail  HeldMail
	// Unseen is the number of unseen mails of the folder, or nil.
	Unseen *uint32
}

// gathered is what is held for a user and not written yet.
type gathered struct {
	events map[string][]Silenced // by device
	done   []func(error)
}

// Hold keeps an event for the summary that a device gets when it is no longer
// silenced. done is called when it is written, within some seconds: with an error,
// it is not.
func (s *Store) Hold(user, id string, e Silenced, done func(error)) {
	if s.isFull(user, id, &e) {
		done(nil)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holdEnded {
		go done(errStopped)
		return
	}
	g := s.gathered[user]
	if g == nil {
		g = &gathered{events: make(map[string][]Silenced)}
		s.gathered[user] = g
	}
	g.events[id] = append(g.events[id], e)
	g.done = append(g.done, done)
	select {
	case s.hold <- struct{}{}:
	default:
	}
}

// isFull reports whether an event changes nothing that has to be written: a device
// that is muted for weeks costs no write for each of its mails.
func (s *Store) isFull(user, id string, e *Silenced) bool {
	if e.Event != notification.MessageNew {
		return false
	}
	d, err := s.Find(user, id)
	if err != nil || d.Held == nil || !d.Held.More || !d.Held.full(&e.Mail) {
		return false
	}
	return e.Unseen == nil || e.Mail.Folder != "" || time.Since(d.Held.Changed) < writeFull
}

// holdLoop writes what is held until ctx ends, and then the rest.
func (s *Store) holdLoop(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-s.hold:
			select {
			case <-ctx.Done():
			case <-time.After(HoldInterval):
			}
			s.writeHeld(ctx, false)
		}
	}
	s.writeHeld(context.WithoutCancel(ctx), true)
}

// writeHeld writes what is held, one entry for each user.
func (s *Store) writeHeld(ctx context.Context, last bool) {
	s.mu.Lock()
	all := s.gathered
	s.gathered = make(map[string]*gathered)
	s.holdEnded = last
	s.mu.Unlock()
	var writers sync.WaitGroup
	free := make(chan struct{}, holdWriters)
	for user, g := range all {
		free <- struct{}{}
		writers.Go(func() {
			writing, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdTimeout)
			defer cancel()
			err := s.change(writing, user, func(list []Subscription) ([]Subscription, error) { return withHeld(list, g.events) })
			for _, done := range g.done {
				done(err)
			}
			<-free
		})
	}
	writers.Wait()
}

// withHeld adds events to the devices that still exist.
func withHeld(list []Subscription, events map[string][]Silenced) ([]Subscription, error) {
	changed := false
	for i := range list {
		d := &list[i]
		of := events[d.ID]
		if len(of) == 0 {
			continue
		}
		held := d.Held.clone()
		for _, e := range of {
			if e.Event == notification.MessageNew {
				held.arrived(e.Mail, e.Unseen)
			} else {
				held.withdrawn(e.Mail, e.Unseen)
			}
		}
		held.Changed, held.Claimed = now(), time.Time{}
		changed = changed || d.Held != nil || held.orNil() != nil
		d.Held = held.orNil()
	}
	if !changed {
		return nil, errUnchanged
	}
	return list, nil
}

// Owned is a device and its user.
type Owned struct {
	User   string
	Device Subscription
}

// Awake returns the devices for which something is held and that are no longer
// silenced. It takes no time for users for whom nothing is held.
func (s *Store) Awake() (awake []Owned) {
	at := time.Now()
	s.mu.RLock()
	users := make(map[string][]Subscription, len(s.holding))
	for user := range s.holding {
		users[user] = s.users[user].list
	}
	s.mu.RUnlock()
	for user, list := range users {
		for i := range list {
			d := &list[i]
			if d.Held != nil && d.Confirmed() && !d.expired(at) && at.Sub(d.Held.Claimed) > claimLifetime && d.Preferences.Silent(at) == "" {
				awake = append(awake, Owned{user, *d})
			}
		}
	}
	return awake
}

// Claim takes over to have the summaries of devices of a user sent. It returns the
// devices that no other instance has claimed. unseen is how many mails of the INBOX
// are unseen, or nil: what exceeds it was read meanwhile.
func (s *Store) Claim(ctx context.Context, user string, ids []string, unseen *uint32) (claimed []string, err error) {
	err = s.change(ctx, user, func(list []Subscription) ([]Subscription, error) {
		claimed = nil
		for _, id := range ids {
			i := indexOf(list, id)
			if i < 0 || list[i].Held == nil || time.Since(list[i].Held.Claimed) <= claimLifetime {
				continue
			}
			held := list[i].Held.clone()
			held.Claimed = now()
			if unseen != nil {
				held.limit(*unseen)
			}
			list[i].Held = held
			claimed = append(claimed, id)
		}
		if len(claimed) == 0 {
			return nil, errUnchanged
		}
		return list, nil
	})
	return claimed, err
}

// Unclaim gives a claim back: the device was silenced again before its summary was
// sent.
func (s *Store) Unclaim(ctx context.Context, user, id string) error {
	ctx, cancel := context.WithTimeout(ctx, holdTimeout)
	defer cancel()
	_, err := s.changeOne(ctx, user, id, func(of *Subscription) error {
		if of.Held == nil || of.Held.Claimed.IsZero() {
			return errUnchanged
		}
		held := of.Held.clone()
		held.Claimed = time.Time{}
		of.Held = held
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// Summarized records the result of a summary, and that the device has been notified
// of what is in it, or never will be.
func (s *Store) Summarized(ctx context.Context, user, id string, sent *Held, d Delivery) error {
	d.Time = d.Time.UTC().Truncate(time.Second)
	_, err := s.changeOne(ctx, user, id, func(of *Subscription) error {
		of.Held = of.Held.without(sent)
		of.recordDelivery(d)
		return nil
	})
	return err
}

// indexHeld keeps holding equal to what is held for a user. s.mu is held.
func (s *Store) indexHeld(user string) {
	list := s.users[user].list
	for i := range list {
		if list[i].Held != nil {
			s.holding[user] = struct{}{}
			return
		}
	}
	delete(s.holding, user)
}
