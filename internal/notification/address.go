// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import "strings"

// Address returns the address in a From for people to read, in lower case, or ""
// if there is none that is whole. It is as far from proven as the rest of From.
//
// The address is the last thing that follows a name. What a name pretends to be
// comes before it.
func Address(from string) string {
	from = strings.TrimSpace(from)
	if last, ok := strings.CutSuffix(from, ">"); ok {
		start := strings.LastIndexByte(last, '<')
		if start < 0 {
			return ""
		}
		from = last[start+1:]
	}
	at := strings.LastIndexByte(from, '@')
	if at <= 0 || at == len(from)-1 || strings.ContainsAny(from, " <>,;") {
		return ""
	}
	return strings.ToLower(from)
}
