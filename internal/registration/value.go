// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// mark is the field that marks our values. Dovecot splits the value at tabs
// into key=value, takes "user" and ignores every other key.
const mark = "by=caddy-dovecot-push"

// isOurs reports whether a value has our mark.
func isOurs(value string) bool { return slices.Contains(strings.Split(value, "\t"), mark) }

// userOf returns the user that a value names, or "".
func userOf(value string) string {
	for field := range strings.SplitSeq(value, "\t") {
		if user, ok := strings.CutPrefix(field, "user="); ok {
			return user
		}
	}
	return ""
}

// Template makes the values of entries.
type Template struct {
	fields []string
	lookup *Lookup
}

var (
	placeholder     = regexp.MustCompile(`\{[^{}]*\}`)
	defaultTemplate = &Template{fields: []string{"user={user}"}}
)

// NewTemplate parses a template: fields key=value, separated by tabs, one of
// which is user. Placeholders:
//
//	{user}         the Dovecot login
//	{user.local}   what is before the last @ of it
//	{user.domain}  what is after that; empty if there is none
//	{lookup}       what the lookup file has for the login
func NewTemplate(text string, lookup *Lookup) (*Template, error) {
	t := &Template{fields: strings.Split(text, "\t"), lookup: lookup}
	found := false
	for _, field := range t.fields {
		key, value, isPair := strings.Cut(field, "=")
		if !isPair || key == "" {
			return nil, fmt.Errorf("the METADATA value %q is not made of key=value, separated by tabs", text)
		}
		if field == mark {
			return nil, fmt.Errorf("the METADATA value holds %s, which is added automatically", mark)
		}
		found = found || key == "user" && value != ""
	}
	if !found {
		return nil, fmt.Errorf("the METADATA value %q has no user=…, which is what Dovecot looks for", text)
	}
	usesLookup := false
	for _, name := range placeholder.FindAllString(text, -1) {
		switch name {
		case "{user}", "{user.local}", "{user.domain}":
		case "{lookup}":
			usesLookup = true
		default:
			return nil, fmt.Errorf("the METADATA value has the placeholder %s; there are: {user}, {user.local}, {user.domain}, {lookup}", name)
		}
	}
	if usesLookup != (lookup != nil) {
		return nil, fmt.Errorf("the placeholder {lookup} and a lookup file need each other")
	}
	return t, nil
}

// IsLogin reports whether the user that entries name is the Dovecot login.
func (t *Template) IsLogin() bool { return slices.Contains(t.fields, "user={user}") }

// value returns the desired entry of a user, including our mark.
func (t *Template) value(user string) (string, error) {
	local, domain := user, ""
	if at := strings.LastIndexByte(user, '@'); at >= 0 {
		local, domain = user[:at], user[at+1:]
	}
	found := ""
	if t.lookup != nil {
		var err error
		if found, err = t.lookup.find(user); err != nil {
			return "", err
		}
	}
	var b strings.Builder
	for _, field := range t.fields {
		b.WriteString(placeholder.ReplaceAllStringFunc(field, func(name string) string {
			switch name {
			case "{user}":
				return escape.Replace(user)
			case "{user.local}":
				return escape.Replace(local)
			case "{user.domain}":
				return escape.Replace(domain)
			default:
				return escape.Replace(found)
			}
		}))
		b.WriteByte('\t')
	}
	return b.String() + mark, nil
}

// escape escapes tabs and line breaks as Dovecot does since 2.2.32.
var escape = strings.NewReplacer("\x00", "\x010", "\x01", "\x011", "\t", "\x01t", "\r", "\x01r", "\n", "\x01n")
