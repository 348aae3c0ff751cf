// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// toUTF8 returns content, text in the character set of this name in lower case,
// in UTF-8 as far as the content is valid. ok is false if the character set is
// not known.
func (d *Decoder) toUTF8(charset string, content []byte) (converted []byte, ok bool) {
	switch charset {
	case "utf-8", "utf8", "us-ascii":
		return content, true
	case "iso-8859-1", "windows-1252":
		return fromWindows1252(content), true
	}
	if d.CharsetReader == nil {
		return nil, false
	}
	r, err := d.CharsetReader(charset, bytes.NewReader(content))
	if err != nil || r == nil {
		return nil, false
	}
	converted, err = io.ReadAll(io.LimitReader(r, maxRaw))
	return converted, err == nil
}

// windows1252 are the characters 0x80 to 0x9F of windows-1252. It differs from
// ISO-8859-1 only in these, which are control characters there that no mail
// means: as browsers do (WHATWG Encoding Standard), we read the one as the
// other.
var windows1252 = [...]rune{
	'€', 0x81, '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', 0x8D, 'Ž', 0x8F,
	0x90, '‘', '’', '“', '”', '•', '–', '—', '˜', '™', 'š', '›', 'œ', 0x9D, 'ž', 'Ÿ',
}

func fromWindows1252(content []byte) []byte {
	converted := make([]byte, 0, len(content)+len(content)/4)
	for _, c := range content {
		r := rune(c)
		if 0x80 <= c && c <= 0x9F {
			r = windows1252[c-0x80]
		}
		converted = utf8.AppendRune(converted, r)
	}
	return converted
}
