// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// sampleSize is how many of the listed names with capitals Dovecot is asked about,
// to learn what it makes of them.
const sampleSize = 10

// list returns the canonical names of Dovecot's users, sorted, and the listed
// names that cannot be user names. It fails with ErrCannotList if there is no
// list.
func (r *Reconciler) list(ctx context.Context) (users, refused []string, err error) {
	listing, err := r.cfg.Registrar.List(ctx)
	switch {
	case errors.Is(err, ErrCannotList):
		return nil, nil, err
	case err != nil && classOf(err).scope == ofUser:
		return nil, nil, fmt.Errorf("%w: %w", ErrCannotList, err)
	case err != nil:
		r.outage.update(err)
		return nil, nil, err
	}
	for _, name := range listing {
		if username.Valid(name) == nil {
			users = append(users, name)
		} else {
			refused = append(refused, name)
		}
	}
	r.canonicalize(ctx, users)
	slices.Sort(users)
	slices.Sort(refused)
	return slices.Compact(users), slices.Compact(refused), nil
}

// canonicalize makes listed names canonical. Those in lower case already are. A
// list may have capitals that Dovecot itself uses or ignores: all names are
// treated as Dovecot treats the first few, unless these differ.
func (r *Reconciler) canonicalize(ctx context.Context, users []string) {
	asked, kept, folded := 0, 0, 0
	for i, user := range users {
		lower := username.Fold(user)
		switch {
		case lower == user:
		case asked >= sampleSize && folded == asked:
			users[i] = lower
		case asked >= sampleSize && kept == asked:
		default:
			asked++
			name, err := r.cfg.Canonical(ctx, user)
			if err != nil {
				continue
			}
			users[i] = name
			switch name {
			case user:
				kept++
			case lower:
				folded++
			}
		}
	}
}

// name returns the name under which a user is registered that an operator named.
// What is in the table already can be named as it is there.
func (r *Reconciler) name(ctx context.Context, login string) (string, error) {
	if username.Valid(login) == nil {
		if _, revision, err := r.load(ctx, login); err == nil && revision != 0 {
			return login, nil
		}
	}
	name, err := r.cfg.Canonical(ctx, login)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrName, err)
	}
	return name, nil
}
