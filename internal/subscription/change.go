// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"hash/maphash"
	"slices"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/jitter"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// Errors of changes, besides [*FieldError] and [queue.ErrUnavailable].
var (
	// ErrNotFound means that the user has no such device, or no longer has it.
	ErrNotFound = errors.New("there is no such subscription")
	// ErrTooMany means that the user has [MaxPerUser] devices.
	ErrTooMany = errors.New("there are too many subscriptions")
	// ErrWrongCode means that another code was sent to the device.
	ErrWrongCode = errors.New("the verification code is another one")
)

// Device is what a device says about itself.
type Device struct {
	Kind           Kind
	Name           string
	DeviceClientID string
	Address
	// Prefer, if set, returns the preferences. It gets those that the device has,
	// or the defaults of new devices.
	Prefer func(Preferences) (Preferences, error)
}

// Address is where messages for a device go, see the members of [Subscription].
type Address struct {
	Endpoint         string
	Token            string
	App, Environment string
	Keys             Keys
	// Page and Lang may be empty. They are no part of where the device is, but
	// change with it.
	Page, Lang string
	// ServerKey is the public VAPID key that the device was given.
	ServerKey string
	// PushServiceExpiry is when the push service will end the subscription, or
	// zero.
	PushServiceExpiry time.Time
}

// attempts bounds how often a change is retried because another instance was
// faster.
const attempts = 10

// Add adds a device to a user. A device that is known already, by its address
// or its DeviceClientID, is updated in place: it keeps its ID, and created is
// false. The result is confirmed if only the name has changed. Otherwise its
// VerificationCode must be sent to it.
//
// Errors: [*FieldError], [ErrTooMany].
func (s *Store) Add(ctx context.Context, user string, d Device) (added Subscription, created bool, err error) {
	is := Subscription{Kind: d.Kind, Endpoint: d.Endpoint, Token: d.Token}
	err = s.change(ctx, user, func(list []Subscription) ([]Subscription, error) {
		i := slices.IndexFunc(list, func(known Subscription) bool {
			return known.At(&is) || d.DeviceClientID != "" && known.DeviceClientID == d.DeviceClientID
		})
		if created = i < 0; created {
			if len(list) >= MaxPerUser {
				return nil, ErrTooMany
			}
			i = len(list)
			list = append(list, Subscription{ID: rand.Text(), Created: now(), Preferences: s.defaults})
		}
		if !list[i].Is(d.Kind) { // a token may look like that of another service
			list[i].Endpoint, list[i].Token = "", ""
		}
		list[i].Kind, list[i].Name, list[i].DeviceClientID = d.Kind, d.Name, d.DeviceClientID
		list[i].move(d.Address)
		if d.Prefer != nil {
			if list[i].Preferences, err = d.Prefer(list[i].Preferences); err != nil {
				return nil, err
			}
		}
		added = list[i]
		// The address may have belonged to another entry than the
		// DeviceClientID.
		list = slices.DeleteFunc(list, func(other Subscription) bool {
			return other.ID != added.ID && other.At(&added)
		})
		return list, added.check()
	})
	return added, created, err
}

// Renew changes the address of a device, because its push service has changed
// it. The device must be confirmed again. Errors: [ErrNotFound], [*FieldError].
func (s *Store) Renew(ctx context.Context, user, id string, to Address) (Subscription, error) {
	return s.changeOne(ctx, user, id, func(d *Subscription) error {
		d.move(to)
		return d.check()
	})
}

// Rename changes the name of a device. Errors: [ErrNotFound], [*FieldError].
func (s *Store) Rename(ctx context.Context, user, id, name string) (Subscription, error) {
	return s.changeOne(ctx, user, id, func(d *Subscription) error {
		d.Name = name
		return d.check()
	})
}

// Prefer changes the preferences of a device. edit gets those that it has, and may
// be called more than once. Errors: [ErrNotFound], and those of edit.
func (s *Store) Prefer(ctx context.Context, user, id string, edit func(Preferences) (Preferences, error)) (Subscription, error) {
	return s.changeOne(ctx, user, id, func(d *Subscription) (err error) {
		d.Preferences, err = edit(d.Preferences)
		return err
	})
}

// UseServerKey stores the VAPID key that a device can be reached with. Errors:
// [ErrNotFound].
func (s *Store) UseServerKey(ctx context.Context, user, id, key string) (Subscription, error) {
	return s.changeOne(ctx, user, id, func(d *Subscription) error {
		d.ServerKey = key
		return nil
	})
}

// Confirm takes the code that came back from a device. From then on the
// address belongs to this user alone: a browser that several people use in
// turn belongs to the last of them. Errors: [ErrNotFound], [ErrWrongCode].
func (s *Store) Confirm(ctx context.Context, user, id, code string) (Subscription, error) {
	confirmed, err := s.changeOne(ctx, user, id, func(d *Subscription) error {
		if d.Confirmed() {
			return errUnchanged
		}
		if subtle.ConstantTimeCompare([]byte(d.VerificationCode), []byte(code)) == 0 {
			return ErrWrongCode
		}
		d.VerificationCode, d.ConfirmedAt = "", now()
		d.extend(d.ConfirmedAt, Lifetime)
		return nil
	})
	if err != nil {
		return Subscription{}, err
	}
	return confirmed, s.takeFromOthers(ctx, user, &confirmed)
}

// Remove ends a device. Errors: [ErrNotFound].
func (s *Store) Remove(ctx context.Context, user, id string) error {
	return s.change(ctx, user, func(list []Subscription) ([]Subscription, error) {
		i := indexOf(list, id)
		if i < 0 {
			return nil, ErrNotFound
		}
		return slices.Delete(list, i, i+1), nil
	})
}

// RemoveGone ends a device whose push service says that it does not exist, if
// it still is at that address. Errors: [ErrNotFound], also if it has moved.
func (s *Store) RemoveGone(ctx context.Context, user string, gone *Subscription) error {
	return s.change(ctx, user, func(list []Subscription) ([]Subscription, error) {
		i := indexOf(list, gone.ID)
		if i < 0 || !list[i].At(gone) {
			return nil, ErrNotFound
		}
		return slices.Delete(list, i, i+1), nil
	})
}

// takeFromOthers removes a confirmed device from all users but one.
func (s *Store) takeFromOthers(ctx context.Context, user string, confirmed *Subscription) error {
	type owner struct{ user, id string }
	var others []owner
	s.mu.RLock()
	for other, d := range s.users {
		if other == user {
			continue
		}
		for i := range d.list {
			if d.list[i].At(confirmed) {
				others = append(others, owner{other, d.list[i].ID})
			}
		}
	}
	s.mu.RUnlock()
	for _, o := range others {
		if err := s.Remove(ctx, o.user, o.id); err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
	return nil
}

// move sets the address. If it differs, the device must confirm again.
func (s *Subscription) move(to Address) {
	same := s.Endpoint == to.Endpoint && s.Token == to.Token && s.App == to.App && s.Environment == to.Environment &&
		bytes.Equal(s.Keys.P256DH, to.Keys.P256DH) && bytes.Equal(s.Keys.Auth, to.Keys.Auth)
	s.PushServiceExpiry, s.Page, s.Lang = to.PushServiceExpiry, to.Page, to.Lang
	if same && s.Confirmed() {
		s.extend(now(), Lifetime)
		return
	}
	s.Endpoint, s.Token, s.App, s.Environment, s.Keys, s.ServerKey = to.Endpoint, to.Token, to.App, to.Environment, to.Keys, to.ServerKey
	s.VerificationCode = rand.Text()
	s.extend(now(), UnconfirmedLifetime)
}

// errUnchanged ends a change that changes nothing.
var errUnchanged = errors.New("nothing changes")

func (s *Store) changeOne(ctx context.Context, user, id string, edit func(*Subscription) error) (changed Subscription, err error) {
	err = s.change(ctx, user, func(list []Subscription) ([]Subscription, error) {
		i := indexOf(list, id)
		if i < 0 {
			return nil, ErrNotFound
		}
		err := edit(&list[i])
		changed = list[i]
		return list, err
	})
	return changed, err
}

// change reads the devices of a user, lets edit change them, and writes them
// unless another writer was faster. Expired ones are not passed to edit.
func (s *Store) change(ctx context.Context, user string, edit func([]Subscription) ([]Subscription, error)) error {
	own := &s.changing[maphash.String(s.seed, user)%uint64(len(s.changing))]
	own.Lock()
	defer own.Unlock()
	key := queue.Key{user}
	for attempt := 1; ; attempt++ {
		entry, err := s.table.Get(ctx, key)
		var before []Subscription
		switch {
		case errors.Is(err, queue.ErrNotFound):
		case err != nil:
			return err
		default:
			if _, before, err = decode(entry); err != nil {
				return err
			}
		}
		after, err := edit(slices.Clone(active(before, now())))
		if errors.Is(err, errUnchanged) {
			return nil
		}
		if err != nil {
			return err
		}
		revision, err := s.write(ctx, key, after, entry.Revision)
		if attempt < attempts && (errors.Is(err, queue.ErrChanged) || errors.Is(err, queue.ErrExists)) {
			select { // or the other one may be faster every time
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(jitter.Spread(time.Duration(attempt)*time.Millisecond, 1)):
			}
			continue
		}
		if err != nil {
			return err
		}
		if revision != 0 {
			s.apply(user, after, revision, false)
		}
		if had, has := s.anyWanted(before), s.anyWanted(after); had != has {
			s.changed(user, has)
		}
		return nil
	}
}

// write writes the devices of a user and returns the revision up to which the
// table is known then.
func (s *Store) write(ctx context.Context, key queue.Key, list []Subscription, revision uint64) (uint64, error) {
	if len(list) == 0 {
		if revision == 0 {
			return 0, nil
		}
		return revision, s.table.Delete(ctx, key, revision)
	}
	value, err := encode(list)
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		return s.table.Create(ctx, key, value)
	}
	return s.table.Update(ctx, key, value, revision)
}

// encode writes JSON without escapes for HTML, with which a user could make it six
// times as long.
func encode(list []Subscription) ([]byte, error) {
	var value bytes.Buffer
	enc := json.NewEncoder(&value)
	enc.SetEscapeHTML(false)
	err := enc.Encode(list)
	return bytes.TrimSuffix(value.Bytes(), []byte("\n")), err
}

// anyWanted reports whether there is mail for one of the devices.
func (s *Store) anyWanted(list []Subscription) bool {
	return slices.ContainsFunc(list, func(d Subscription) bool { return d.Wanted() && slices.ContainsFunc(s.kinds, d.Is) })
}

// now is the time as it is stored.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
