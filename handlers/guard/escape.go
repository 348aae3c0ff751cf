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
func (p partial) after(c rune) (next partial) {
	switch {
	case c == 'u':
		return p & percent << 2
	case hexDigit(c) < 0:
		return 0
	case p&first != 0:
		next = whole
	}
	return next | p&^first<<1
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
	top := s.begun[len(s.begun)-1]
	if top.torn&whole != 0 {
		s.torn = true
	}
	if top.plain&whole == 0 {
		return
	}
	length, digits := 3, 2
	if s.before(2) != '%' {
		length, digits = 6, 4
	}
	value := rune(0)
	for n := digits - 1; n >= 0; n-- {
		value = value<<4 | hexDigit(s.before(n))
	}
	if digits == 2 {
		value = octet(byte(value))
	}
	begin := len(s.solid) - length
	at := s.solid[begin]
	s.spelled, s.begun, s.solid = s.spelled[:at], s.begun[:at], s.solid[:begin]
	s.todo = append(s.todo, value)
}

// before is the solid character with n others behind it.
func (s *speller) before(n int) rune {
	return s.spelled[s.solid[len(s.solid)-1-n]]
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
