// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

// An escape is %70, or %u0070 as Microsoft and old JavaScript have it.

// partial is a set of beginnings of an escape.
type partial uint8

const (
	percent partial = 1 << iota // %
	first                       // %7
	wide                        // %u
	_                           // %u0
	_                           // %u00
	_                           // %u007
	whole
)

// after gives what the beginnings are with c behind them.
func (p partial) after(c rune) partial {
	switch {
	case c == 'u':
		return p & percent << 2
	case hexDigit(c) < 0:
		return 0
	case p&first != 0:
		return whole
	}
	return p << 1
}

// begun are the escapes that are begun and not complete at a place of a spelling.
type begun struct {
	plain partial
	torn  partial // if some of the optional characters are taken and others are not, in any way
}

// with gives what is begun after c, an element of a spelling.
func (b begun) with(c rune) begun {
	if c <= removable {
		return b
	}
	start := partial(0)
	if c&^optional == '%' {
		start = percent
	}
	if c&optional == 0 {
		return begun{plain: b.plain.after(c) | start, torn: b.torn.after(c)}
	}
	either := b.plain | b.torn
	return begun{torn: either | either.after(c&^optional) | start}
}

// decode looks for an escape at the end of the spelling. It takes it off and
// puts what it stands for into todo. What is removable within does not hide it.
func (s *speller) decode() {
	at := len(s.spelled) - 1
	begun := s.spelled[at].begun
	if begun.torn&whole != 0 {
		s.torn = true
	}
	if begun.plain&whole == 0 {
		return
	}
	value, digits := rune(0), 0
	for ; hexDigit(s.spelled[at].c) >= 0; at = int(s.spelled[at].back) {
		value |= hexDigit(s.spelled[at].c) << (4 * digits)
		digits++
	}
	if s.spelled[at].c == 'u' {
		at = int(s.spelled[at].back)
	} else {
		value = octet(byte(value))
	}
	s.spelled = s.spelled[:at]
	s.todo = append(s.todo, value)
}

// hexDigit is the value of c, or -1.
func hexDigit(c rune) rune {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return -1
}
