// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package properties reads Java's format of properties, which the files of
// Open-Xchange have.
//
// In goes the content of a .properties file, out come its keys and values.
// (The usual library for it, magiconair/properties, takes CR LF wrongly, quotes
// the file in its errors, and leaves a goroutine behind with each.)
package properties

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf16"
)

// ErrEscape is the only thing that can be wrong with a file.
var ErrEscape = errors.New(`an escape that begins with \u does not go on with four hexadecimal digits`)

// blanks are what Java's properties may be indented and separated with.
const blanks = " \t\f"

// Parse reads a file the way that java.util.Properties.load describes: ISO
// 8859-1, comments, separators, escapes, and lines that go on. Of several values
// with the same key the last one counts. The error is ErrEscape; it quotes
// nothing of the file, which may hold secrets.
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

// naturalLines end with LF, CR or both.
func naturalLines(content []byte) []string {
	runes := make([]rune, len(content))
	for i, b := range content {
		runes[i] = rune(b) // ISO 8859-1
	}
	text := strings.ReplaceAll(string(runes), "\r\n", "\n")
	return strings.Split(strings.ReplaceAll(text, "\r", "\n"), "\n")
}

// goesOn tells whether a line ends with an odd number of backslashes.
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
