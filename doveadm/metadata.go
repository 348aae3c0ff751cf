// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// The METADATA entries (RFC 5464) are those of the server, which Dovecot keeps
// with the user's INBOX: they are gone when that is deleted. Keys begin with
// /private/ or /shared/, and do not distinguish upper from lower case.

// MetadataGet returns the value of an entry of the user. It is empty if there
// is no entry.
func (c *Client) MetadataGet(ctx context.Context, user, key string) (value string, err error) {
	const name = "mailboxMetadataGet"
	if err := checkEntry(name, user, key); err != nil {
		return "", err
	}
	rows, err := c.metadataGet(ctx, command{name: name, parameters: entry(user, "key", key), idempotent: true, limit: maxUserAnswer})
	if err != nil || len(rows) == 0 {
		return "", err
	}
	return rows[0].Value, nil
}

// MetadataGetMask returns the value of an entry for all users that the mask
// fits, by login, where * and ? are wildcards. It is empty where a user has no
// entry.
//
// Dovecot visits the users one after another in this one request, and says
// nothing until it is through: ctx limits it, and ten minutes. It fails as a
// whole if one user fails, also with [ErrNoAnswer], and with [ErrTemporary] if
// Dovecot cannot list its users.
func (c *Client) MetadataGetMask(ctx context.Context, mask, key string) (map[string]string, error) {
	const name = "mailboxMetadataGet"
	if err := checkKey(name, key); err != nil {
		return nil, err
	}
	if !hasWildcard(mask) { // the answer would not name the user
		value, err := c.MetadataGet(ctx, mask, key)
		if err != nil {
			return nil, err
		}
		return map[string]string{mask: value}, nil
	}
	rows, err := c.metadataGet(ctx, command{name: name, parameters: entryOfMany(mask, key), idempotent: true, visitsAll: true})
	if err != nil {
		return nil, err
	}
	values := make(map[string]string, len(rows))
	for _, row := range rows {
		values[row.Username] = row.Value
	}
	return values, nil
}

type metadataRow struct{ Username, Value string }

func (c *Client) metadataGet(ctx context.Context, cmd command) ([]metadataRow, error) {
	results, err := c.call(ctx, cmd)
	if err != nil {
		return nil, err
	}
	var rows []metadataRow
	return rows, unmarshal(cmd.name, results, &rows)
}

// MetadataSet sets an entry of the user.
func (c *Client) MetadataSet(ctx context.Context, user, key, value string) error {
	const name = "mailboxMetadataSet"
	if err := checkEntry(name, user, key); err != nil {
		return err
	}
	parameters := entry(user, "key", key)
	parameters["value"] = value
	_, err := c.call(ctx, command{name: name, parameters: parameters, idempotent: true, limit: maxUserAnswer})
	return err
}

// MetadataUnset removes an entry of the user. It is no error if there is none.
func (c *Client) MetadataUnset(ctx context.Context, user, key string) error {
	const name = "mailboxMetadataUnset"
	if err := checkEntry(name, user, key); err != nil {
		return err
	}
	_, err := c.call(ctx, command{name: name, parameters: entry(user, "key", key), idempotent: true, limit: maxUserAnswer})
	return err
}

// MetadataUnsetMask removes an entry of all users that the mask fits, in one
// request, as [Client.MetadataGetMask] reads them.
func (c *Client) MetadataUnsetMask(ctx context.Context, mask, key string) error {
	const name = "mailboxMetadataUnset"
	if err := checkKey(name, key); err != nil {
		return err
	}
	if mask == "" {
		return parameterError(name, "the mask is empty")
	}
	_, err := c.call(ctx, command{name: name, parameters: entryOfMany(mask, key), idempotent: true, visitsAll: true})
	return err
}

// MetadataList returns the keys of the user's entries that begin with the
// prefix, complete and in lower case. Without a dictionary for METADATA there
// are none, which is no error.
func (c *Client) MetadataList(ctx context.Context, user, prefix string) ([]string, error) {
	const name = "mailboxMetadataList"
	if err := checkEntry(name, user, prefix); err != nil {
		return nil, err
	}
	results, err := c.call(ctx, command{name: name, parameters: entry(user, "keyPrefix", prefix), idempotent: true, limit: maxUserAnswer})
	if err != nil {
		return nil, err
	}
	var rows []struct{ Key string }
	if err := unmarshal(name, results, &rows); err != nil {
		return nil, err
	}
	keys := make([]string, len(rows))
	for i, row := range rows {
		keys[i] = strings.ToLower(prefix) + row.Key
	}
	return keys, nil
}

// entry is what all commands for an entry of the server have in common. The
// flag is there or not: Dovecot takes false for true.
func entry(user, keyName, key string) map[string]any {
	return map[string]any{"user": user, "mailbox": "", "allowEmptyMailboxName": true, keyName: key}
}

// entryOfMany names the entry by the place where Dovecot keeps it, with INBOX.
// Dovecot 2.3 and 2.4 forget the name of a server entry after the first of
// several users, and read or write one with a random name for all others.
func entryOfMany(mask, key string) map[string]any {
	scope, rest, _ := strings.Cut(key[1:], "/")
	return map[string]any{"user": mask, "mailbox": "INBOX", "key": "/" + scope + "/vendor/vendor.dovecot/pvt/server/" + rest}
}

// checkEntry finds parameters that Dovecot would close the connection for, or
// take for something else: a user with a wildcard is all users.
func checkEntry(name, user, key string) error {
	if err := checkUser(name, user); err != nil {
		return err
	}
	return checkKey(name, key)
}

func checkUser(name, user string) error {
	switch {
	case user == "":
		return parameterError(name, "the user is empty")
	case hasWildcard(user):
		return parameterError(name, "the user has a wildcard, which would mean several users")
	}
	return nil
}

func checkKey(name, key string) error {
	if !strings.HasPrefix(key, "/private/") && !strings.HasPrefix(key, "/shared/") {
		return parameterError(name, "the key does not begin with /private/ or /shared/")
	}
	return nil
}

func hasWildcard(user string) bool { return strings.ContainsAny(user, "*?") }

func parameterError(name, text string) error {
	return &Error{Command: name, Err: fmt.Errorf("%w: %w", errors.New(text), ErrUsage)}
}
