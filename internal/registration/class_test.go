// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// errorsOf returns the names of the exported errors that a file declares.
func errorsOf(t *testing.T, file string) (names []string) {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	require.NoError(t, err)
	ast.Inspect(parsed, func(n ast.Node) bool {
		if spec, ok := n.(*ast.ValueSpec); ok {
			for _, name := range spec.Names {
				if strings.HasPrefix(name.Name, "Err") {
					names = append(names, name.Name)
				}
			}
		}
		return true
	})
	require.NotEmpty(t, names)
	return names
}

// Every error of both registrars, and what it is taken for. Only what says that
// nobody can be served concerns others than the user.
func TestEveryError(t *testing.T) {
	type known struct {
		err   error
		want  error
		scope scope
	}
	dovecot := map[string]known{
		"ErrUnknownUser":    {doveadm.ErrUnknownUser, ErrUnknownUser, ofUser},
		"ErrNoMetadata":     {doveadm.ErrNoMetadata, ErrNoMetadata, ofAll},
		"ErrNoIteration":    {doveadm.ErrNoIteration, ErrMail, ofUser},
		"ErrUsage":          {doveadm.ErrUsage, ErrMail, ofUser},
		"ErrNotFound":       {doveadm.ErrNotFound, ErrMail, ofUser},
		"ErrTemporary":      {doveadm.ErrTemporary, ErrMail, ofUser},
		"ErrFailed":         {doveadm.ErrFailed, ErrMail, ofUser},
		"ErrUnknownCommand": {doveadm.ErrUnknownCommand, ErrCredentials, ofAll},
		"ErrInvalidRequest": {doveadm.ErrInvalidRequest, ErrMail, ofUser},
		"ErrNotAllowed":     {doveadm.ErrNotAllowed, ErrCredentials, ofAll},
		"ErrBadSecret":      {doveadm.ErrBadSecret, ErrCredentials, ofAll},
		"ErrNoAnswer":       {doveadm.ErrNoAnswer, ErrMail, ofUser},
		"ErrUnreachable":    {doveadm.ErrUnreachable, ErrTemporary, ofServer},
		"ErrTimeout":        {doveadm.ErrTimeout, ErrMail, ofUser},
		"ErrBroken":         {doveadm.ErrBroken, ErrMail, ofUser},
		"ErrServer":         {doveadm.ErrServer, ErrMail, ofUser},
		"ErrNotServed":      {doveadm.ErrNotServed, ErrTemporary, ofServer},
		"ErrUnexpected":     {doveadm.ErrUnexpected, ErrMail, ofUser},
		"ErrUnavailable":    {doveadm.ErrUnavailable, ErrTemporary, ofServer},
		"ErrClientClosed":   {doveadm.ErrClientClosed, ErrTemporary, ofServer},
	}
	for _, name := range errorsOf(t, "../../doveadm/errors.go") {
		assert.Contains(t, dovecot, name, "an error of doveadm that nobody has classified")
	}
	for name, test := range dovecot {
		err := doveadmError(&doveadm.Error{Command: "x", Err: fmt.Errorf("really: %w", test.err)})
		assert.ErrorIs(t, err, test.want, name)
		assert.Equal(t, test.scope, classOf(err).scope, name)
	}
	server := map[string]known{
		"ErrCredentials": {imap.ErrCredentials, ErrCredentials, ofAll},
		"ErrNoSuchUser":  {imap.ErrNoSuchUser, ErrUnknownUser, ofUser},
		"ErrNoMetadata":  {imap.ErrNoMetadata, ErrNoMetadata, ofAll},
		"ErrMail":        {imap.ErrMail, ErrMail, ofUser},
		"ErrAccount":     {imap.ErrAccount, ErrMail, ofUser},
		"ErrUnavailable": {imap.ErrUnavailable, ErrTemporary, ofServer},
	}
	for _, name := range errorsOf(t, "../imap/errors.go") {
		assert.Contains(t, server, name, "an error of imap that nobody has classified")
	}
	for name, test := range server {
		err := imapError(fmt.Errorf("really: %w", test.err), alice, true)
		assert.ErrorIs(t, err, test.want, name)
		assert.Equal(t, test.scope, classOf(err).scope, name)
	}
	// Only a plain name proves that it is the master user who is refused.
	assert.ErrorIs(t, imapError(imap.ErrCredentials, "carol smith", true), ErrName)
	assert.ErrorIs(t, imapError(imap.ErrCredentials, alice, false), ErrNeedsLogin)

	own := map[string]scope{
		"ErrName": ofUser, "ErrUnknownUser": ofUser, "ErrNoMetadata": ofAll, "ErrCredentials": ofAll, "ErrNeedsLogin": ofUser,
		"ErrCannotList": ofUser, "ErrMail": ofUser, "ErrTemporary": ofServer, "ErrConflict": ofUser,
	}
	for _, name := range errorsOf(t, "registrar.go") {
		assert.Contains(t, own, name)
	}
	for _, c := range classes {
		assert.Equal(t, c.reason, classOf(fmt.Errorf("really: %w", c.err)).reason)
		assert.Equal(t, c.scope != ofUser || errors.Is(c.err, ErrMail), c.retry, c.reason)
	}
	assert.Equal(t, ofUser, classOf(errors.New("something new")).scope)
	assert.Equal(t, ofStore, classOf(storeError(queue.ErrUnavailable)).scope)
	assert.Equal(t, ofUser, classOf(storeError(queue.ErrKey)).scope)
}

// However many users fail one after another, for a reason of their own, all
// others are served by the same pass.
func TestUsersWhoFail(t *testing.T) {
	all := names(1000)
	last := all[len(all)-1]
	for i, failure := range []error{ErrUnknownUser, ErrName, ErrMail, ErrNeedsLogin, errors.New("something new"), ErrConflict} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			m := newMemory(all...)
			m.failing(func(method, user string) error {
				switch {
				case method == "list", user == last:
					return nil
				case method == "values":
					return ErrMail
				}
				return failure
			})
			f := newFixture(t, m, Config{Policy: All})
			f.onePass(t)
			assert.Equal(t, ours(last), m.value(last))
			assert.Empty(t, f.Status().Outage)
			assert.Equal(t, len(all), f.Status().Pass.Done)
			assert.NotContains(t, f.log.String(), "level=ERROR")
		})
	}
}

// One user whom METADATA is not enabled for says nothing about the others, once
// somebody has an entry.
func TestUserWithoutMetadata(t *testing.T) {
	all := names(20)
	m := newMemory(all...)
	m.failing(func(method, user string) error {
		switch {
		case method == "values":
			return ErrMail
		case user == all[10]:
			return ErrNoMetadata
		}
		return nil
	})
	f := newFixture(t, m, Config{Policy: All, Concurrency: 1})
	f.onePass(t)
	assert.Empty(t, f.Status().Outage)
	for _, user := range all {
		assert.Equal(t, user != all[10], m.value(user) != "", user)
	}
}

// The values of somebody else are not an outage, in whatever number.
func TestForeignValues(t *testing.T) {
	all := names(60)
	m := newMemory(all...)
	for _, user := range all[:40] {
		m.put(user, "user=3@1")
	}
	f := newFixture(t, m, Config{Policy: Off})
	conflicts := 0
	require.NoError(t, f.RegisterMany(t.Context(), nil, false, func(int) {}, func(reg Registration) {
		if errors.Is(reg.Err, ErrConflict) {
			conflicts++
		}
	}))
	assert.Equal(t, 40, conflicts)
	assert.Empty(t, f.Status().Outage)
	assert.Equal(t, ours(all[59]), m.value(all[59]))
	for _, user := range all[:6] {
		_, err := f.Register(t.Context(), user, false)
		require.ErrorIs(t, err, ErrConflict)
	}
	assert.Empty(t, f.Status().Outage)
	assert.NotContains(t, f.log.String(), "is paused")
}

// What an operator asked for is done also with "register off", where Dovecot was
// out of order in the middle of it, and nothing else is.
func TestAskedForWhileDown(t *testing.T) {
	all := names(40)
	m := newMemory(append(all, bob)...)
	m.put(bob, ours(bob)) // left by another configuration
	var sets atomic.Int32
	var down atomic.Bool
	down.Store(true)
	m.failing(func(method, _ string) error {
		if method == "set" {
			sets.Add(1)
		}
		if down.Load() && sets.Load() > 24 {
			return ErrTemporary
		}
		return nil
	})
	f := newFixture(t, m, Config{Policy: Off, Concurrency: 1})
	f.Start()
	reported := 0
	err := f.RegisterMany(t.Context(), all, false, func(int) {}, func(Registration) { reported++ })
	require.ErrorIs(t, err, ErrTemporary)
	assert.ErrorContains(t, err, "of 40 users are left and will be retried")
	assert.Less(t, reported, len(all))
	assert.Equal(t, ReasonTemporary, f.Status().Outage)
	down.Store(false)
	eventually(t, func() bool { return m.value(all[39]) == ours(all[39]) })
	eventually(t, func() bool { return f.Status().Outage == "" })
	for _, user := range all {
		eventually(t, func() bool { return m.value(user) == ours(user) })
	}
	assert.Equal(t, ours(bob), m.value(bob), "nobody asked for that")

	// So it is with what is to be removed.
	m.failing(func(method, _ string) error {
		if method == "unset" {
			return ErrMail
		}
		return nil
	})
	_, err = f.Unregister(t.Context(), all[0])
	require.ErrorIs(t, err, ErrMail)
	m.failing(nil)
	eventually(t, func() bool { return m.value(all[0]) == "" && f.state(t, all[0]) == Unregistered })
	_, revision, err := f.load(t.Context(), all[0])
	require.NoError(t, err)
	assert.Zero(t, revision, "nothing is left of it")
}

// A failure of the store is not told as one of Dovecot.
func TestStoreFails(t *testing.T) {
	m := newMemory(names(50)...)
	f := newFixture(t, m, Config{Policy: All})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 * downAfter {
		_ = f.outage.update(storeError(fmt.Errorf("%w: %w", queue.ErrUnavailable, ctx.Err())))
	}
	assert.Empty(t, f.Status().Outage)
	assert.NotContains(t, f.log.String(), "Dovecot answers again")
}
