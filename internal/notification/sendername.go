// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"cmp"
	"regexp"
	"strings"
)

var (
	named  = regexp.MustCompile(`(?s)^(.*?)\s*<([^<>]*)>$`)
	escape = regexp.MustCompile(`(?s)\\(.)`)
)

// SenderName returns who a mail is from, for people to read: the name in its From,
// or the address if there is no name, or nothing. The page does the same
// (js/sender.js).
func SenderName(from string) string {
	from = strings.TrimSpace(from)
	parts := named.FindStringSubmatch(from)
	if parts == nil {
		return from
	}
	name := strings.TrimSpace(parts[1])
	if len(name) > 1 && name[0] == '"' && name[len(name)-1] == '"' {
		name = escape.ReplaceAllString(name[1:len(name)-1], "$1")
	}
	return cmp.Or(name, strings.TrimSpace(parts[2]))
}
