// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import "context"

// FlagsAdd sets flags such as \Seen, or keywords, of the messages of a user that a
// query finds, which is as in [Client.Fetch]. It is no error if it finds none. A
// mailbox that does not exist is [ErrNotFound] with Dovecot 2.3, and none with 2.4.
func (c *Client) FlagsAdd(ctx context.Context, user string, flags, query []string) error {
	return c.flags(ctx, "flagsAdd", user, flags, query)
}

// FlagsRemove removes flags, as [Client.FlagsAdd] sets them.
func (c *Client) FlagsRemove(ctx context.Context, user string, flags, query []string) error {
	return c.flags(ctx, "flagsRemove", user, flags, query)
}

func (c *Client) flags(ctx context.Context, name, user string, flags, query []string) error {
	if err := checkQuery(name, user, query); err != nil {
		return err
	}
	if len(flags) == 0 {
		return parameterError(name, "the list of flags is empty")
	}
	_, err := c.call(ctx, command{name: name, idempotent: true, limit: maxUserAnswer, parameters: map[string]any{
		"user": user, "flag": flags, "query": query,
	}})
	return err
}

// Move moves the messages of a user that a query finds, which is as in
// [Client.Fetch], to another mailbox of the user. It is no error if it finds none.
// A mailbox that does not exist is [ErrNotFound] with Dovecot 2.3, and no error with
// 2.4, although nothing is moved. An error that is [ErrTimeout],
// [ErrBroken], [ErrNoAnswer], [ErrServer] or [ErrUnexpected] leaves open whether
// they were moved.
func (c *Client) Move(ctx context.Context, user, mailbox string, query []string) error {
	const name = "move"
	if err := checkQuery(name, user, query); err != nil {
		return err
	}
	if mailbox == "" {
		return parameterError(name, "the mailbox is empty")
	}
	_, err := c.call(ctx, command{name: name, limit: maxUserAnswer, parameters: map[string]any{
		"user": user, "destinationMailbox": mailbox, "query": query,
	}})
	return err
}

// checkQuery finds what would concern more messages than was meant.
func checkQuery(name, user string, query []string) error {
	if err := checkUser(name, user); err != nil {
		return err
	}
	if len(query) == 0 {
		return parameterError(name, "the query is empty")
	}
	return nil
}
