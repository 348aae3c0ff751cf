// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// listUsers is the command that lists users.
const listUsers = "user"

// Users returns the logins that a mask fits, where * and ? are wildcards,
// sorted. Without a wildcard it is the one user, or [ErrUnknownUser]. If
// Dovecot cannot list its users it is [ErrNoIteration].
func (c *Client) Users(ctx context.Context, mask string) ([]string, error) {
	if mask == "" {
		return nil, parameterError(listUsers, "the mask is empty")
	}
	results, err := c.call(ctx, command{
		name: listUsers, parameters: map[string]any{"userMask": []string{mask}},
		idempotent: true, visitsAll: hasWildcard(mask),
	})
	if err != nil {
		return nil, err
	}
	if !hasWildcard(mask) {
		var byLogin map[string]json.RawMessage
		if err := unmarshal(listUsers, results, &byLogin); err != nil {
			return nil, err
		}
		return slices.Sorted(maps.Keys(byLogin)), nil
	}
	var list struct{ UserList []string }
	if err := unmarshal(listUsers, results, &list); err != nil {
		return nil, err
	}
	slices.Sort(list.UserList)
	return list.UserList, nil
}

// User returns the name that Dovecot has for the user with a login, as its
// notifications have it: after auth_username_format, which makes it lower case by
// default and may cut the domain. A login that Dovecot does not know is
// [ErrUnknownUser]; one with a wildcard cannot be asked about ([ErrUsage]).
func (c *Client) User(ctx context.Context, login string) (name string, err error) {
	if err := checkUser(listUsers, login); err != nil {
		return "", err
	}
	results, err := c.call(ctx, command{
		name: listUsers, parameters: map[string]any{"userMask": []string{login}}, idempotent: true, limit: maxUserAnswer,
	})
	if err != nil {
		return "", err
	}
	var byLogin map[string]struct{ User string }
	if err := unmarshal(listUsers, results, &byLogin); err != nil {
		return "", err
	}
	fields, ok := byLogin[login]
	if !ok {
		return "", &Error{Command: listUsers, Err: fmt.Errorf("the answer is about somebody else: %w", ErrUnexpected)}
	}
	if fields.User == "" { // Dovecot tells it only where it is another
		return login, nil
	}
	return fields.User, nil
}

// defaultFields are what MailboxStatus asks for if it is not told.
var defaultFields = []string{"messages", "unseen", "uidnext", "uidvalidity"}

// MailboxStatus returns facts about a mailbox of the user, by field: messages,
// recent, unseen, uidnext, uidvalidity, highestmodseq, vsize, guid, firstsaved,
// or all. Without fields it is messages, unseen, uidnext and uidvalidity. An
// unknown field is [ErrNoAnswer], an unknown mailbox [ErrNotFound].
func (c *Client) MailboxStatus(ctx context.Context, user, mailbox string, fields ...string) (map[string]string, error) {
	const name = "mailboxStatus"
	if err := checkUser(name, user); err != nil {
		return nil, err
	}
	if mailbox == "" || strings.ContainsAny(mailbox, "*%") {
		return nil, parameterError(name, "the mailbox is empty or has a wildcard")
	}
	if len(fields) == 0 {
		fields = defaultFields
	}
	results, err := c.call(ctx, command{name: name, idempotent: true, limit: maxUserAnswer, parameters: map[string]any{
		"user": user, "field": fields, "mailboxMask": []string{mailbox},
	}})
	if err != nil {
		return nil, err
	}
	var rows []map[string]string
	if err := unmarshal(name, results, &rows); err != nil {
		return nil, err
	}
	if len(rows) != 1 {
		return nil, &Error{Command: name, Err: fmt.Errorf("%d mailboxes: %w", len(rows), ErrNotFound)}
	}
	delete(rows[0], "mailbox")
	return rows[0], nil
}

// Raw executes any command, with its name and parameters as `GET /doveadm/v1`
// lists them, and returns its results: mostly an array of objects whose members
// are strings. A parameter that is a flag is given as true or left out: Dovecot
// takes false for true.
//
// The command goes to another endpoint only if this is sure to execute it once,
// or if it only reads. An error that is [ErrTimeout], [ErrBroken], [ErrNoAnswer],
// [ErrServer] or [ErrUnexpected] leaves open whether it was executed.
func (c *Client) Raw(ctx context.Context, name string, parameters map[string]any) (json.RawMessage, error) {
	return c.call(ctx, command{name: name, parameters: parameters, idempotent: isIdempotent(name)})
}

// isIdempotent knows the commands that Raw may execute twice. Dovecot takes
// their names as in mailboxStatus and as in "mailbox status".
func isIdempotent(name string) bool {
	switch strings.ToLower(strings.ReplaceAll(name, " ", "")) {
	case "mailboxmetadataget", "mailboxmetadatalist", "mailboxmetadataset", "mailboxmetadataunset",
		"mailboxlist", "mailboxstatus", "fetch", "search", "user", "who", "quotaget":
		return true
	}
	return false
}
