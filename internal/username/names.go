// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package username

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

const (
	// knownFor is how long an answer of Dovecot holds.
	knownFor = 15 * time.Minute
	// guessedFor is how long a name that could not be asked about is not asked
	// about again.
	guessedFor = 5 * time.Second
	// maxKnown bounds how many answers are remembered.
	maxKnown = 16384
	// askTimeout bounds how long somebody who signs in waits for the answer.
	askTimeout = 3 * time.Second
)

// ErrUnknown is what [Names.Ask] fails with for a login that Dovecot does not
// know.
var ErrUnknown = errors.New("the login is unknown to Dovecot")

// Names finds the canonical names of users. It remembers the answers for a
// while, and is safe for concurrent use.
type Names struct {
	// Ask returns the name that Dovecot has for a login, or [ErrUnknown]. It is
	// nil where Dovecot cannot be asked.
	Ask func(ctx context.Context, login string) (string, error)

	mu    sync.Mutex
	known map[string]answer // by login
}

type answer struct {
	name  string
	until time.Time
	guess bool // nobody could say
	// unknown means that Dovecot knows nobody of the name.
	unknown bool
}

// Canonical returns the canonical name of the user with the login. The error is
// that of [Valid]: where Dovecot fails to answer, or does not know the login, the
// name is the login in lower case.
func (n *Names) Canonical(ctx context.Context, login string) (string, error) {
	if err := Valid(login); err != nil {
		return "", err
	}
	if name, ok := n.remembered(login); ok {
		return name, nil
	}
	if n.Ask == nil || HasWildcard(login) {
		return Fold(login), nil
	}
	return n.ask(ctx, login).name, nil
}

// Unknown reports whether Dovecot says that it has no user of the name. Where it
// cannot be asked, or fails to answer, that is not known, and it is false.
func (n *Names) Unknown(ctx context.Context, name string) bool {
	if n.Ask == nil || Valid(name) != nil || HasWildcard(name) {
		return false
	}
	n.mu.Lock()
	a := n.known[name]
	n.mu.Unlock()
	if !time.Now().Before(a.until) {
		a = n.ask(ctx, name)
	}
	return a.unknown
}

// ask asks Dovecot who has the login, and remembers the answer.
func (n *Names) ask(ctx context.Context, login string) answer {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	name, err := n.Ask(ctx, login)
	a := answer{name: name, until: time.Now().Add(knownFor)}
	if err != nil || Valid(name) != nil {
		a = answer{name: Fold(login), until: time.Now().Add(guessedFor), guess: true, unknown: errors.Is(err, ErrUnknown)}
	}
	if !errors.Is(err, context.Canceled) {
		n.remember(login, a)
	}
	return a
}

// masterSeparator is what stands between a user and the master user who signs in
// for them (auth_master_user_separator), by the convention of Dovecot's
// documentation.
const masterSeparator = "*"

// Identify finds the canonical name for a login that IMAP has just taken, for
// Canonical to know it. takes reports whether IMAP takes the same password for
// another login, or from a master user for a user. Without Ask, a login with
// capitals is in lower case if IMAP takes that as well. known is false if Dovecot
// says that it does not know the user.
func (n *Names) Identify(ctx context.Context, login string, takes func(ctx context.Context, user, master string) (bool, error)) (known bool, err error) {
	n.mu.Lock()
	a := n.known[login]
	n.mu.Unlock()
	if !a.guess && time.Now().Before(a.until) {
		return true, nil
	}
	user, master := login, ""
	if before, after, ok := strings.Cut(login, masterSeparator); ok && before != "" && after != "" {
		switch right, err := takes(ctx, before, after); {
		case err != nil:
			return false, err
		case right:
			user, master = before, after
		}
	}
	lower := Fold(user)
	if n.Ask != nil && !HasWildcard(user) {
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		name, err := n.Ask(asking, user)
		cancel()
		if err == nil {
			n.learn(login, name)
			return true, nil
		}
		if user != login { // nothing is kept about the pair
			n.learn(login, lower)
		}
		return !errors.Is(err, ErrUnknown), nil // else it can be asked later
	}
	name := lower
	if user != lower {
		switch same, err := takes(ctx, lower, master); {
		case err != nil:
			return false, err
		case !same:
			name = user
		}
	}
	n.learn(login, name)
	return true, nil
}

func (n *Names) learn(login, name string) {
	if Valid(login) == nil && Valid(name) == nil {
		n.remember(login, answer{name: name, until: time.Now().Add(knownFor)})
	}
}

func (n *Names) remembered(login string) (string, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	a, ok := n.known[login]
	return a.name, ok && time.Now().Before(a.until)
}

func (n *Names) remember(login string, a answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.known == nil {
		n.known = make(map[string]answer)
	}
	if _, ok := n.known[login]; !ok && len(n.known) >= maxKnown {
		for other := range n.known { // in no order
			delete(n.known, other)
			break
		}
	}
	n.known[login] = a
}
