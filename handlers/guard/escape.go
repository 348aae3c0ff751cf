// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

// An escape is %70, or %u0070 as in Microsoft's and old JavaScript's encoding.

// partial is a set of incomplete escapes.
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

// after returns the incomplete escapes after c.
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

// begun are the escapes that are incomplete at a position of a normalized path.
type begun struct {
	plain     partial
	ambiguous partial // if some optional characters are kept and others are removed, in any combination
}

// with returns what is begun after c, an element of a normalized path.
func (b begun) with(c rune) begun {
	if c <= removable {
		return b
	}
	start := partial(0)
	if c&^optional == '%' {
		start = percent
	}
	if c&optional == 0 {
		return begun{plain: b.plain.after(c) | start, ambiguous: b.ambiguous.after(c)}
	}
	either := b.plain | b.ambiguous
	return begun{ambiguous: either | either.after(c&^optional) | start}
}

// decode looks for an escape at the end of the output. It removes it and adds
// the character it stands for to todo. Removable elements within it do not hide
// it.
func (n *normalizer) decode() {
	at := len(n.out) - 1
	begun := n.out[at].begun
	if begun.ambiguous&whole != 0 {
		n.ambiguous = true
	}
	if begun.plain&whole == 0 {
		return
	}
	value, digits := rune(0), 0
	for ; hexDigit(n.out[at].c) >= 0; at = int(n.out[at].back) {
		value |= hexDigit(n.out[at].c) << (4 * digits)
		digits++
	}
	if n.out[at].c == 'u' {
		at = int(n.out[at].back)
	} else {
		value = octet(byte(value))
	}
	n.out = n.out[:at]
	n.todo = append(n.todo, value)
}

// hexDigit returns the value of c, or -1.
func hexDigit(c rune) rune {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	}
	return -1
}
