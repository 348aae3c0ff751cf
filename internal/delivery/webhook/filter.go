// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"slices"
	"strings"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// Filter selects the notifications that are sent: those of one of the events,
// and of a user and a folder that each match one of the patterns. In a pattern,
// * stands for any characters. No pattern means everybody, or every folder; no
// event means [notification.MessageNew]. Users and INBOX are compared ignoring
// letter case.
type Filter struct {
	Events         notification.Events
	Users, Folders []string
}

type filter struct {
	events         notification.Events
	users, folders []pattern
	// everyNew is set where each new mail passes.
	everyNew bool
}

// newMessage is the event as Dovecot writes it. Within a text of JSON it looks
// different.
var newMessage = []byte(`"event":"` + notification.MessageNew + `"`)

// passes reports, without decoding them, that the most frequent notifications
// pass. False means nothing.
func (f filter) passes(body []byte) bool { return f.everyNew && bytes.Contains(body, newMessage) }

func newFilter(f Filter) filter {
	all := func(texts []string) (patterns []pattern) {
		for _, t := range texts {
			patterns = append(patterns, newPattern(t))
		}
		return patterns
	}
	users := make([]string, len(f.Users))
	for i, u := range f.Users {
		users[i] = username.Fold(u)
	}
	folders := make([]string, len(f.Folders))
	for i, folder := range f.Folders {
		folders[i] = inbox(folder)
	}
	return filter{
		events: f.Events, users: all(users), folders: all(folders),
		everyNew: len(users)+len(folders) == 0 && (f.Events == nil || slices.Contains(f.Events, notification.MessageNew)),
	}
}

func (f filter) match(n *notification.Notification) bool {
	return anyMatches(f.users, username.Fold(n.User)) && anyMatches(f.folders, inbox(n.Folder))
}

func anyMatches(patterns []pattern, s string) bool {
	return patterns == nil || slices.ContainsFunc(patterns, func(p pattern) bool { return p.match(s) })
}

// inbox writes INBOX, and the beginning of a folder below it, as Dovecot does.
func inbox(folder string) string {
	if len(folder) >= 5 && strings.EqualFold(folder[:5], "INBOX") && (len(folder) == 5 || strings.ContainsRune("/.*", rune(folder[5]))) {
		return "INBOX" + folder[5:]
	}
	return folder
}

// pattern is the text between the stars.
type pattern []string

func newPattern(s string) pattern { return strings.Split(s, "*") }

func (p pattern) match(s string) bool {
	first, last := p[0], p[len(p)-1]
	if len(p) == 1 {
		return s == first
	}
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, part := range p[1 : len(p)-1] {
		_, rest, found := strings.Cut(s, part)
		if !found {
			return false
		}
		s = rest
	}
	return true
}
