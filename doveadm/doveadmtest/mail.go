// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadmtest

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// mailbox is one of a user.
type mailbox struct {
	name, guid  string
	uidValidity int
	uidNext     int
	mails       []*mail
}

type mail struct {
	uid   int
	guid  string
	flags []string
}

// is reports whether the mailbox has the name. That of the INBOX has no case.
func (b *mailbox) is(name string) bool {
	return b.name == name || b.name == "INBOX" && strings.EqualFold(name, "INBOX")
}

func (b *mailbox) status() row {
	unseen := 0
	for _, m := range b.mails {
		if !m.has(`\Seen`) {
			unseen++
		}
	}
	return row{
		"messages": strconv.Itoa(len(b.mails)), "recent": "0", "unseen": strconv.Itoa(unseen), "uidnext": strconv.Itoa(b.uidNext),
		"uidvalidity": strconv.Itoa(b.uidValidity), "highestmodseq": "1", "vsize": "0", "guid": b.guid, "firstsaved": "never",
	}
}

func (m *mail) has(flag string) bool {
	return slices.ContainsFunc(m.flags, func(f string) bool { return strings.EqualFold(f, flag) })
}

// AddMailbox creates a mailbox of a user.
func (d *Dovecot) AddMailbox(login, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.addMailbox(strings.ToLower(login), name)
}

func (d *Dovecot) addMailbox(user, name string) {
	d.created++
	d.mailboxes[user] = append(d.mailboxes[user], &mailbox{
		name: name, guid: fmt.Sprintf("d1884d33be1d066b4e160000%08x", d.created), uidValidity: 1795452970 + d.created, uidNext: 1,
	})
}

// Deliver adds an unseen mail to a mailbox of a user, which must exist, and
// returns its UID.
func (d *Dovecot) Deliver(login, name string) (uid int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.created++
	box := d.mailbox(strings.ToLower(login), name)
	return box.add(&mail{guid: fmt.Sprintf("a3c94d21be1d066b4e160000%08x", d.created)})
}

func (b *mailbox) add(m *mail) (uid int) {
	m.uid = b.uidNext
	b.uidNext++
	b.mails = append(b.mails, m)
	return m.uid
}

func (d *Dovecot) mailbox(user, name string) *mailbox {
	for _, box := range d.mailboxes[user] {
		if box.is(name) {
			return box
		}
	}
	return nil
}

// The commands below hold d.mu. They take queries of mailbox, uid and guid.

func (d *Dovecot) fetch(c call) (any, int) {
	fields := c.texts("field")
	rows := []row{}
	exit := d.found(c, func(box *mailbox, m *mail) {
		all := row{"uid": strconv.Itoa(m.uid), "guid": m.guid, "flags": strings.Join(m.flags, " "), "mailbox": box.name, "mailbox-guid": box.guid}
		r := make(row)
		for _, field := range fields {
			value, ok := all[field]
			if !ok {
				die()
			}
			r[field] = value
		}
		rows = append(rows, r)
	})
	return rows, exit
}

func (d *Dovecot) flagsAdd(c call) (any, int) {
	return []row{}, d.found(c, func(_ *mailbox, m *mail) {
		for _, flag := range c.texts("flag") {
			if !m.has(flag) {
				m.flags = append(m.flags, flag)
			}
		}
	})
}

func (d *Dovecot) flagsRemove(c call) (any, int) {
	return []row{}, d.found(c, func(_ *mailbox, m *mail) {
		for _, flag := range c.texts("flag") {
			m.flags = slices.DeleteFunc(m.flags, func(f string) bool { return strings.EqualFold(f, flag) })
		}
	})
}

func (d *Dovecot) move(c call) (any, int) {
	users, _, exit := d.visited(c)
	if exit != 0 {
		return nil, exit
	}
	to := d.mailbox(users[0], c.text("destinationMailbox"))
	if to == nil {
		return nil, exitNotFound
	}
	return []row{}, d.found(c, func(box *mailbox, m *mail) {
		box.mails = slices.DeleteFunc(slices.Clone(box.mails), func(other *mail) bool { return other == m })
		moved := *m
		to.add(&moved)
	})
}

// found calls visit for each mail that the query of a command finds.
func (d *Dovecot) found(c call, visit func(*mailbox, *mail)) (exit int) {
	users, _, exit := d.visited(c)
	if exit != 0 {
		return exit
	}
	var box *mailbox
	tests := []func(*mail) bool{}
	query := c.texts("query")
	for i := 0; i+1 < len(query); i += 2 {
		value := query[i+1]
		switch query[i] {
		case "mailbox":
			if box = d.mailbox(users[0], value); box == nil {
				return exitNotFound
			}
		case "uid":
			tests = append(tests, func(m *mail) bool { return inSet(m.uid, value, box.uidNext-1) })
		case "guid":
			tests = append(tests, func(m *mail) bool { return m.guid == value })
		default:
			return exitUsage
		}
	}
	if box == nil || len(query)%2 != 0 {
		return exitUsage
	}
	for _, m := range slices.Clone(box.mails) {
		if !slices.ContainsFunc(tests, func(test func(*mail) bool) bool { return !test(m) }) {
			visit(box, m)
		}
	}
	return 0
}

// inSet reports whether a UID is in a sequence set, where * is the last one.
func inSet(uid int, set string, last int) bool {
	for part := range strings.SplitSeq(set, ",") {
		first, end, isRange := strings.Cut(part, ":")
		if !isRange {
			end = first
		}
		bounds := [2]int{}
		for i, text := range []string{first, end} {
			if bounds[i], _ = strconv.Atoi(text); text == "*" {
				bounds[i] = last
			}
		}
		if min(bounds[0], bounds[1]) <= uid && uid <= max(bounds[0], bounds[1]) {
			return true
		}
	}
	return false
}
