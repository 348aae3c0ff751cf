// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"context"
	"fmt"
	"strings"
)

// MailboxStatusMask returns what [Client.MailboxStatus] does for all users that
// the mask fits, by login, where * and ? are wildcards. Users without such a
// mailbox are not there.
//
// Dovecot visits the users one after another in this one request, as with
// [Client.MetadataGetMask], and fails as a whole if one user fails.
func (c *Client) MailboxStatusMask(ctx context.Context, mask, mailbox string, fields ...string) (map[string]map[string]string, error) {
	const name = "mailboxStatus"
	if mailbox == "" || strings.ContainsAny(mailbox, "*%") {
		return nil, parameterError(name, "the mailbox is empty or has a wildcard")
	}
	if !hasWildcard(mask) { // the answer would not name the user
		status, err := c.MailboxStatus(ctx, mask, mailbox, fields...)
		if err != nil {
			return nil, err
		}
		return map[string]map[string]string{mask: status}, nil
	}
	if len(fields) == 0 {
		fields = defaultFields
	}
	results, err := c.call(ctx, command{name: name, idempotent: true, visitsAll: true, parameters: map[string]any{
		"user": mask, "field": fields, "mailboxMask": []string{mailbox},
	}})
	if err != nil {
		return nil, err
	}
	var rows []map[string]string
	if err := unmarshal(name, results, &rows); err != nil {
		return nil, err
	}
	all := make(map[string]map[string]string, len(rows))
	for _, row := range rows {
		user := row["username"]
		if user == "" {
			return nil, &Error{Command: name, Err: fmt.Errorf("a row names no user: %w", ErrUnexpected)}
		}
		delete(row, "username")
		delete(row, "mailbox")
		all[user] = row
	}
	return all, nil
}

// Fetch returns fields of the messages of a user that a query finds, in the
// order of their UIDs, such as uid, flags, date.received, hdr.subject and
// body.snippet. The query is that of doveadm-search-query(7), one word each:
// mailbox, INBOX, uid, 1:3.
func (c *Client) Fetch(ctx context.Context, user string, query []string, fields ...string) ([]map[string]string, error) {
	const name = "fetch"
	if err := checkUser(name, user); err != nil {
		return nil, err
	}
	if len(query) == 0 || len(fields) == 0 {
		return nil, parameterError(name, "the query or the list of fields is empty")
	}
	results, err := c.call(ctx, command{name: name, idempotent: true, parameters: map[string]any{
		"user": user, "field": fields, "query": query,
	}})
	if err != nil {
		return nil, err
	}
	var rows []map[string]string
	return rows, unmarshal(name, results, &rows)
}
