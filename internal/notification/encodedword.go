// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"encoding/base64"
	"strings"
)

// decodeWords returns text with its encoded-words (RFC 2047) decoded. White
// space between two of them is removed (section 6.2). Malformed ones, and those
// in an unknown character set, stay as they are. The decoded text may hold any
// bytes, including line ends and invalid UTF-8.
//
// mime.WordDecoder drops a whole header for one unknown character set, and
// converts words one by one, so that a character divided between two is lost
// unless it is UTF-8.
func (d *Decoder) decodeWords(text []byte) []byte {
	if !bytes.Contains(text, []byte("=?")) {
		return text
	}
	decoded := make([]byte, 0, len(text))
	afterWord := false
	for {
		run, start, end := nextRun(text)
		if end == 0 {
			return append(decoded, text...)
		}
		content, ok := d.toUTF8(run.charset, run.content)
		if !ok {
			content = text[start:end]
		}
		if !ok || !afterWord || leadingBlanks(text) < start {
			decoded = append(decoded, text[:start]...)
		}
		decoded = append(decoded, content...)
		text, afterWord = text[end:], ok
	}
}

// encodedWord is one encoded-word or several of one character set in a row.
type encodedWord struct {
	charset string // in lower case
	content []byte // in the character set
}

// nextRun returns the first encoded-word in text together with those of the
// same character set that follow it with nothing but white space between, as
// many mailers divide their text without regard to its characters. The run is
// text[start:end]; end is 0 if there is none.
func nextRun(text []byte) (run encodedWord, start, end int) {
	for end == 0 {
		next := bytes.Index(text[start:], []byte("=?"))
		if next < 0 {
			return run, 0, 0
		}
		start += next
		word, length := parseWord(text[start:])
		if length == 0 {
			start += len("=?")
			continue
		}
		run, end = word, start+length
	}
	for {
		gap := leadingBlanks(text[end:])
		word, length := parseWord(text[end+gap:])
		if length == 0 || word.charset != run.charset {
			return run, start, end
		}
		run.content = append(run.content, word.content...)
		end += gap + length
	}
}

// parseWord returns the encoded-word at the start of text and its length, which
// is 0 if there is none. No part of one may hold a question mark, so that no
// text, however it was made, is read more than a few times.
func parseWord(text []byte) (word encodedWord, length int) {
	rest, ok := bytes.CutPrefix(text, []byte("=?"))
	if !ok {
		return word, 0
	}
	charset, rest, _ := bytes.Cut(rest, []byte("?"))
	encoding, rest, _ := bytes.Cut(rest, []byte("?"))
	encoded, rest, _ := bytes.Cut(rest, []byte("?"))
	if len(charset) == 0 || len(charset) > maxCharset || len(encoding) != 1 || len(rest) == 0 || rest[0] != '=' {
		return word, 0
	}
	charset, _, _ = bytes.Cut(charset, []byte("*")) // RFC 2231, section 5: the language
	word.charset = strings.ToLower(string(charset))
	switch encoding[0] {
	case 'B', 'b':
		word.content, ok = decodeB(encoded)
	case 'Q', 'q':
		word.content, ok = decodeQ(encoded)
	default:
		ok = false
	}
	if !ok {
		return word, 0
	}
	return word, len(text) - len(rest) + len("=")
}

// maxCharset is longer than the name of any character set.
const maxCharset = 64

// decodeB decodes base64, with or without padding.
func decodeB(encoded []byte) ([]byte, bool) {
	content, err := base64.RawStdEncoding.AppendDecode(nil, bytes.TrimRight(encoded, "="))
	return content, err == nil
}

// decodeQ decodes the "Q" encoding (RFC 2047, section 4.2). White space is kept,
// although the RFC allows none.
func decodeQ(encoded []byte) ([]byte, bool) {
	content := make([]byte, 0, len(encoded))
	for len(encoded) > 0 {
		c, n := encoded[0], 1
		switch {
		case c == '_':
			c = ' '
		case c == '=':
			if len(encoded) < 3 || !isHex(encoded[1]) || !isHex(encoded[2]) {
				return nil, false
			}
			c, n = byte(hexRune(encoded[1:3])), 3
		case c > '~' || c < ' ' && !isBlank(c):
			return nil, false
		}
		content = append(content, c)
		encoded = encoded[n:]
	}
	return content, true
}

// leadingBlanks counts the bytes of white space, as it may stand between
// encoded-words, at the start of text.
func leadingBlanks(text []byte) int {
	n := 0
	for n < len(text) && isBlank(text[n]) {
		n++
	}
	return n
}

func isBlank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }
