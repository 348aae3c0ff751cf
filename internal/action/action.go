// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package action does what people choose on a notification: their mail is marked as
// read, moved to the archive or to the trash, and back.
//
// Nobody signs in for it. What is sent to a device has a token for each action that
// is offered ([Actions.Offer]). It is bound to the user, the device, the mail and
// the action, expires after [Lifetime], and is used up by the first who hands it in
// ([Actions.Do]), at any of the instances that share the store. A device that is
// removed can do nothing any more.
//
// Dovecot is asked through [Mailboxes]: by DoveAdm ([DoveAdm]) or over IMAP as a
// master user ([IMAP]).
package action

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

const (
	// Lifetime is how long an action can be chosen.
	Lifetime = 24 * time.Hour
	// UndoLifetime is how long it can be undone.
	UndoLifetime = 2 * time.Minute

	// doTimeout bounds what Dovecot may take, and storeTimeout the store.
	doTimeout    = 15 * time.Second
	storeTimeout = 5 * time.Second
	// keyRetry is how long a key that cannot be read is not asked for again.
	keyRetry = 10 * time.Second
	// clockSkew is by how much the clocks of instances may differ.
	clockSkew = time.Minute

	// atOnceOfUser and atOnce bound how many requests are at Dovecot at a time, so
	// that a mailbox that hangs holds up nobody else.
	atOnceOfUser = 2
	atOnce       = 32
)

// What Do fails with, besides the errors of the store.
var (
	// ErrForged means that the ticket is not from here, or was changed.
	ErrForged = errors.New("the ticket is not authentic")
	// ErrExpired means that it is too late.
	ErrExpired = errors.New("the ticket has expired")
	// ErrUsed means that somebody was faster, or that it was done before.
	ErrUsed = errors.New("the ticket was used before")
	// ErrNoDevice means that the user has no such device any more.
	ErrNoDevice = errors.New("the device was removed")
	// ErrNotOffered means that the operator offers the action no more.
	ErrNotOffered = errors.New("the action is not offered")
	// ErrNoMail means that the mail is not there any more.
	ErrNoMail = errors.New("the mail is not there")
	// ErrNoMailbox means that the mailbox does not exist that it would go to.
	ErrNoMailbox = errors.New("the mailbox does not exist that the mail would be moved to")
	// ErrBusy means that the user does too much at a time.
	ErrBusy = errors.New("too much is done at a time")
	// ErrDovecot means that Dovecot did not do it. It may later.
	ErrDovecot = errors.New("not done by Dovecot")
	// ErrKey means that the key cannot be read right now.
	ErrKey = errors.New("the key of the actions cannot be read")
)

// Place is where a mail is.
type Place struct {
	Folder           string
	UIDValidity, UID uint32
}

// Mailboxes are those of all users. Errors are [ErrNoMail], [ErrNoMailbox], or
// others.
type Mailboxes interface {
	// SetSeen sets or removes \Seen, and reports whether that changed anything.
	SetSeen(ctx context.Context, user string, at Place, seen bool) (changed bool, err error)
	// Move moves a mail and returns where it is then. The zero Place says that it
	// was moved, and that it is not known to where exactly.
	Move(ctx context.Context, user string, at Place, to string) (Place, error)
}

// Config of the actions.
type Config struct {
	// Key returns the secret key that tokens are made with, which is the same for
	// all instances.
	Key func(context.Context) ([]byte, error)
	// Mailboxes does it.
	Mailboxes Mailboxes
	// Used holds the tokens that were used.
	Used *queue.Table
	// Devices are those that may act.
	Devices *subscription.Store
	// Offer are the actions that are offered, in the order in which they are shown.
	Offer []Action
	// ArchiveMailbox and TrashMailbox are where mails go.
	ArchiveMailbox, TrashMailbox string
}

// Actions offers and does them. It is safe for concurrent use.
type Actions struct {
	cfg    Config
	places chan struct{}

	mu     sync.Mutex
	byUser map[string]int // how many are at Dovecot
	key    []byte
	retry  time.Time // when the key is asked for again
}

// New returns the actions.
func New(cfg Config) *Actions {
	return &Actions{cfg: cfg, places: make(chan struct{}, atOnce), byUser: make(map[string]int)}
}

// Offer returns what a device may do with a new mail; nil for nothing. It is fast
// also where the key cannot be read: a mail does not wait for its actions.
func (a *Actions) Offer(ctx context.Context, user string, d *subscription.Subscription, m *notification.Mail) *notification.Actions {
	if m.Event != notification.MessageNew || m.UID == 0 || m.UIDValidity == 0 || !plain(m.Folder) || username.HasWildcard(user) {
		return nil
	}
	key, err := a.secret(ctx)
	if err != nil {
		return nil
	}
	offer := &notification.Actions{User: user, Device: d.ID, Expires: time.Now().Add(Lifetime).Unix()}
	for _, action := range a.cfg.Offer {
		if a.target(action) == m.Folder {
			continue
		}
		t := Ticket{
			User: user, Device: d.ID, Action: action, Folder: m.Folder, UIDValidity: m.UIDValidity, UID: m.UID, Expires: offer.Expires,
		}
		t.sign(key)
		offer.Offer = append(offer.Offer, notification.Offer{Action: string(action), Token: t.Token})
	}
	if len(offer.Offer) == 0 {
		return nil
	}
	return offer
}

// plain reports whether a name stands for one mailbox: Dovecot takes others for
// several.
func plain(mailbox string) bool { return mailbox != "" && !strings.ContainsAny(mailbox, "*%\x00\r\n") }

// CheckMailbox reports what is wrong with the name of a mailbox that mails are to be
// moved to.
func CheckMailbox(name string) error {
	if !plain(name) || len(name) > notification.MaxName {
		return fmt.Errorf("%q is not the name of one mailbox: it has 1 to %d bytes, and no * or %%", name, notification.MaxName)
	}
	return nil
}

// target is the mailbox that an action moves mails to, or empty.
func (a *Actions) target(action Action) string {
	switch action {
	case Archive:
		return a.cfg.ArchiveMailbox
	case Trash:
		return a.cfg.TrashMailbox
	default:
		return ""
	}
}

// Check reports whether a ticket is authentic. Errors: [ErrForged], [ErrKey].
func (a *Actions) Check(ctx context.Context, t *Ticket) error {
	key, err := a.secret(ctx)
	if err != nil {
		return err
	}
	if !t.authentic(key) {
		return ErrForged
	}
	return nil
}

// Do does what a ticket is for, and returns the one that undoes it; nil if nothing
// was changed that could be undone. A ticket that failed can be handed in again, as
// long as it may still succeed.
func (a *Actions) Do(ctx context.Context, t *Ticket) (undo *Ticket, err error) {
	if err := a.Check(ctx, t); err != nil {
		return nil, err
	}
	if err := a.permits(t); err != nil {
		return nil, err
	}
	leave, err := a.enter(ctx, t.User)
	if err != nil {
		return nil, err
	}
	defer leave()
	used := queue.Key{t.User, t.Token}
	left := time.Until(time.Unix(t.Expires, 0)) + clockSkew
	storing, cancel := context.WithTimeout(ctx, storeTimeout)
	_, err = a.cfg.Used.CreateFor(storing, used, nil, left)
	cancel()
	if errors.Is(err, queue.ErrExists) {
		return nil, ErrUsed
	}
	if err != nil {
		return nil, fmt.Errorf("noting that a ticket is used: %w", err)
	}
	// What was begun is ended, whether or not somebody waits for the answer.
	ctx = context.WithoutCancel(ctx)
	doing, cancel := context.WithTimeout(ctx, doTimeout)
	undo, err = a.do(doing, t)
	cancel()
	if err != nil && !errors.Is(err, ErrNoMail) {
		storing, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		if err := a.cfg.Used.Delete(storing, used, 0); err != nil {
			return nil, fmt.Errorf("noting that a ticket is not used: %w", err)
		}
	}
	return undo, err
}

// permits reports whether an authentic ticket is good for something.
func (a *Actions) permits(t *Ticket) error {
	if t.expired(time.Now()) {
		return ErrExpired
	}
	if slices.Contains(Offered, t.Action) && !slices.Contains(a.cfg.Offer, t.Action) {
		return ErrNotOffered
	}
	d, err := a.cfg.Devices.Find(t.User, t.Device)
	switch {
	case errors.Is(err, subscription.ErrNotFound):
		return ErrNoDevice
	case err != nil:
		return err
	case !d.Wanted():
		return ErrNoDevice
	}
	return nil
}

func (a *Actions) do(ctx context.Context, t *Ticket) (undo *Ticket, err error) {
	at := Place{t.Folder, t.UIDValidity, t.UID}
	back := Ticket{User: t.User, Device: t.Device, Expires: time.Now().Add(UndoLifetime).Unix()}
	switch t.Action {
	case Read, Unread:
		changed, err := a.cfg.Mailboxes.SetSeen(ctx, t.User, at, t.Action == Read)
		if err != nil || !changed || t.Action == Unread {
			return nil, err
		}
		back.Action = Unread
	case Restore:
		_, err := a.cfg.Mailboxes.Move(ctx, t.User, at, t.To)
		return nil, err
	default:
		now, err := a.cfg.Mailboxes.Move(ctx, t.User, at, a.target(t.Action))
		if err != nil || now == (Place{}) {
			return nil, err
		}
		back.Action, back.To, at = Restore, t.Folder, now
	}
	back.Folder, back.UIDValidity, back.UID = at.Folder, at.UIDValidity, at.UID
	key, err := a.secret(ctx)
	if err != nil {
		return nil, nil // it was done
	}
	back.sign(key)
	return &back, nil
}

// enter waits for a place at Dovecot. The caller must leave.
func (a *Actions) enter(ctx context.Context, user string) (leave func(), err error) {
	a.mu.Lock()
	if a.byUser[user] >= atOnceOfUser {
		a.mu.Unlock()
		return nil, ErrBusy
	}
	a.byUser[user]++
	a.mu.Unlock()
	gone := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.byUser[user]--; a.byUser[user] == 0 {
			delete(a.byUser, user)
		}
	}
	timer := time.NewTimer(storeTimeout)
	defer timer.Stop()
	select {
	case a.places <- struct{}{}:
		return func() { <-a.places; gone() }, nil
	case <-ctx.Done():
	case <-timer.C:
	}
	gone()
	return nil, ErrBusy
}

// secret returns the key. While one caller reads it, and for a while after that
// failed, the others do without.
func (a *Actions) secret(ctx context.Context) ([]byte, error) {
	a.mu.Lock()
	if a.key != nil || time.Now().Before(a.retry) {
		defer a.mu.Unlock()
		if a.key == nil {
			return nil, ErrKey
		}
		return a.key, nil
	}
	a.retry = time.Now().Add(keyRetry)
	a.mu.Unlock()
	key, err := a.cfg.Key(context.WithoutCancel(ctx)) // it is for all
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.key = key
	return key, nil
}
