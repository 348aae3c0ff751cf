// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package properties reads the .properties files of Open-Xchange: Java's format,
// in UTF-8.
//
// (The usual library for it, magiconair/properties, takes CR LF wrongly, quotes
// the file in its errors, and leaves a goroutine behind with each.)
package properties

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// What can be wrong with a file or a value. The errors quote nothing of the file,
// which may hold secrets.
var (
	ErrEscape = errors.New(`an escape that begins with \u does not go on with four hexadecimal digits`)
	// ErrEncoding tells that a value was written in another encoding than UTF-8.
	ErrEncoding = errors.New("it is not in UTF-8, as which Open-Xchange reads it")
	// ErrVariable tells that a value has a variable, {{…}}.
	ErrVariable = errors.New("it has a variable in {{ }}, which Open-Xchange replaces by what only its own environment has: write the value itself")
)

// blanks are what Java's properties may be indented and separated with.
const blanks = " \t\f"

// Parse reads a file the way that java.util.Properties.load describes, with a
// reader of UTF-8: comments, separators, escapes, and lines that go on. Of several
// values with the same key the last one counts. The error is ErrEscape. What is
// not UTF-8 becomes U+FFFD, as in Java; see [Check].
func Parse(content []byte) (map[string]string, error) {
	values := make(map[string]string)
	lines := naturalLines(content)
	for len(lines) > 0 {
		line := strings.TrimLeft(lines[0], blanks)
		lines = lines[1:]
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		var logical strings.Builder
		for goesOn(line) && len(lines) > 0 {
			logical.WriteString(line[:len(line)-1])
			line = strings.TrimLeft(lines[0], blanks)
			lines = lines[1:]
		}
		if goesOn(line) { // at the end of the file
			line = line[:len(line)-1]
		}
		logical.WriteString(line)
		rawKey, rawValue := cut(logical.String())
		key, err := unescape(rawKey)
		if err != nil {
			return nil, err
		}
		if values[key], err = unescape(rawValue); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// Check reports whether Open-Xchange uses a value of [Parse] as it is. The error is
// ErrEncoding or ErrVariable.
func Check(value string) error {
	switch {
	case strings.ContainsRune(value, utf8.RuneError):
		return ErrEncoding
	case strings.Contains(value, "{{") && strings.Contains(value, "}}"):
		return ErrVariable
	}
	return nil
}

// naturalLines end with LF, CR or both.
func naturalLines(content []byte) []string {
	text := strings.ReplaceAll(strings.ToValidUTF8(string(content), string(utf8.RuneError)), "\r\n", "\n")
	return strings.Split(strings.ReplaceAll(text, "\r", "\n"), "\n")
}

// goesOn reports whether a line ends with an odd number of backslashes.
func goesOn(line string) bool {
	return (len(line)-len(strings.TrimRight(line, `\`)))%2 == 1
}

// cut separates key and value, which have blanks in between, or = or :
// with blanks around it.
func cut(line string) (key, value string) {
	end := 0
	for end < len(line) && !strings.ContainsRune("=:"+blanks, rune(line[end])) {
		if line[end] == '\\' {
			end++ // and what it escapes
		}
		end++
	}
	end = min(end, len(line))
	value = strings.TrimLeft(line[end:], blanks)
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], blanks)
	}
	return line[:end], value
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var units []uint16 // Java's characters, since escapes may be halves of one
	for runes := []rune(s); len(runes) > 0; {
		r := runes[0]
		runes = runes[1:]
		if r != '\\' || len(runes) == 0 {
			units = utf16.AppendRune(units, r)
			continue
		}
		r = runes[0]
		runes = runes[1:]
		switch r {
		case 't':
			r = '\t'
		case 'n':
			r = '\n'
		case 'r':
			r = '\r'
		case 'f':
			r = '\f'
		case 'u':
			if len(runes) < 4 {
				return "", ErrEscape
			}
			unit, err := strconv.ParseUint(string(runes[:4]), 16, 16)
			if err != nil {
				return "", ErrEscape
			}
			units = append(units, uint16(unit))
			runes = runes[4:]
			continue
		}
		units = utf16.AppendRune(units, r)
	}
	return string(utf16.Decode(units)), nil
}
