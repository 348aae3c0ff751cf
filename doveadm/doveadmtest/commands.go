// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadmtest

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// The exit codes of doveadm.
const (
	exitUsage       = 64
	exitData        = 65
	exitNoUser      = 67
	exitNotFound    = 68
	exitTemporarily = 75
)

// row is one line of a result. All values are strings.
type row map[string]string

// The commands below hold d.mu.

func (d *Dovecot) metadataGet(c call) (any, int) {
	key := metadataKey(c.text("key"))
	return d.metadata(c, func(entries map[string]string) []row { return []row{{"value": entries[key]}} })
}

func (d *Dovecot) metadataSet(c call) (any, int) {
	key, value := metadataKey(c.text("key")), c.text("value")
	return d.metadata(c, func(entries map[string]string) []row {
		entries[key] = value
		return nil
	})
}

func (d *Dovecot) metadataUnset(c call) (any, int) {
	key := metadataKey(c.text("key"))
	return d.metadata(c, func(entries map[string]string) []row {
		delete(entries, key)
		return nil
	})
}

func (d *Dovecot) metadataList(c call) (any, int) {
	prefix := metadataKey(c.text("keyPrefix"))
	if d.noDict {
		_, _, exit := d.visited(c)
		return []row{}, exit
	}
	return d.metadata(c, func(entries map[string]string) (rows []row) {
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			if rest, ok := strings.CutPrefix(key, prefix); ok {
				rows = append(rows, row{"key": rest})
			}
		}
		return rows
	})
}

// metadata does something with the server's entries of every user that is meant.
// It has a flaw of Dovecot 2.3 and 2.4: after the first of several users the name
// of the entry is lost, but not if it is named by its place in INBOX.
func (d *Dovecot) metadata(c call, visit func(entries map[string]string) []row) (any, int) {
	mailbox := c.text("mailbox")
	users, several, exit := d.visited(c)
	switch {
	case exit != 0:
		return nil, exit
	case mailbox == "" && c.parameters["allowEmptyMailboxName"] == nil:
		return nil, exitUsage
	case mailbox != "" && !strings.EqualFold(mailbox, "INBOX"):
		return nil, exitNotFound
	case d.noDict:
		return nil, exitData
	}
	rows := []row{}
	for i, user := range users {
		entries := d.entries[user]
		if i > 0 && mailbox == "" {
			entries = make(map[string]string)
		}
		for _, r := range visit(entries) {
			if several {
				r["username"] = user
			}
			rows = append(rows, r)
		}
	}
	return rows, 0
}

// visited are the users that a command means: all that a mask fits, or one.
func (d *Dovecot) visited(c call) (users []string, several bool, exit int) {
	user := strings.ToLower(c.text("user"))
	if isMask(user) {
		if d.noIteration {
			return nil, true, exitTemporarily
		}
		return d.fitting([]string{user}), true, 0
	}
	if d.entries[user] == nil {
		return nil, false, exitNoUser
	}
	return []string{user}, false, 0
}

func (d *Dovecot) fitting(masks []string) []string {
	fits := func(user string) bool {
		return slices.ContainsFunc(masks, func(mask string) bool {
			ok, err := path.Match(mask, user)
			return err == nil && ok
		})
	}
	users := []string{}
	for _, user := range d.users {
		if fits(user) {
			users = append(users, user)
		}
	}
	return users
}

func (d *Dovecot) user(c call) (any, int) {
	masks := c.texts("userMask")
	if slices.ContainsFunc(masks, isMask) {
		if d.noIteration {
			return nil, exitData
		}
		return map[string]any{"userList": d.fitting(masks)}, 0
	}
	fields := make(map[string]row)
	for _, login := range masks {
		user := strings.ToLower(login)
		if d.entries[user] == nil {
			return nil, exitNoUser
		}
		fields[login] = row{"uid": "5000", "gid": "5000", "home": "/home/" + user}
		if user != login {
			fields[login]["user"] = user
		}
	}
	return fields, 0
}

func (d *Dovecot) mailboxStatus(c call) (any, int) {
	masks, fields := c.texts("mailboxMask"), c.texts("field")
	users, several, exit := d.visited(c)
	if exit != 0 {
		return nil, exit
	}
	rows := []row{}
	for _, user := range users {
		for _, box := range d.mailboxes[user] {
			if !slices.ContainsFunc(masks, func(mask string) bool { return box.is(mask) || isMask(mask) }) {
				continue
			}
			if len(fields) == 0 {
				die()
			}
			r := row{"mailbox": box.name}
			status := box.status()
			for _, field := range fields {
				if field == "all" {
					maps.Copy(r, status)
				} else if value, ok := status[field]; ok {
					r[field] = value
				} else {
					die()
				}
			}
			if several {
				r["username"] = user
			}
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 && !several {
		return nil, exitNotFound
	}
	return rows, 0
}

// metadataKey checks a key as Dovecot does, which dies of a wrong one. An entry
// of the server has two names: its own, and that of its place in INBOX.
func metadataKey(key string) string {
	if !strings.HasPrefix(key, "/private") && !strings.HasPrefix(key, "/shared") {
		die()
	}
	return strings.Replace(strings.ToLower(key), "/vendor/vendor.dovecot/pvt/server/", "/", 1)
}

func isMask(s string) bool { return strings.ContainsAny(s, "*?") }

// UserNames returns n logins, such as user00042@example.com.
func UserNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("user%05d@example.com", i)
	}
	return names
}
