// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

// maxDepth bounds the nesting of arrays and objects in members that are not read.
// Dovecot's drivers and its documented Lua script nest 3 deep.
const maxDepth = 64

// scanner reads a JSON text (RFC 8259) once, strictly and without a copy.
// encoding/json reads it twice, copies a subject of a megabyte, takes "USER" for
// "user" and quotes the body in its errors.
type scanner struct {
	data []byte
	pos  int
}

// scan returns the members of the JSON object that body is.
func scan(body []byte) (members, error) {
	var m members
	s := scanner{data: body}
	if s.next() != '{' {
		return m, s.fail("'{' expected")
	}
	if err := s.object(1, &m); err != nil {
		return m, err
	}
	if s.next(); s.pos < len(s.data) {
		return m, s.fail("nothing more expected")
	}
	return m, nil
}

// object reads an object and, if into is not nil, puts its members there.
func (s *scanner) object(depth int, into *members) error {
	if depth > maxDepth {
		return s.fail("nested too deep")
	}
	s.pos++
	if s.next() == '}' {
		s.pos++
		return nil
	}
	for {
		name, value, err := s.member(depth)
		if err != nil {
			return err
		}
		if into != nil && into.set(name, value) == nameUID && s.skipStrayQuote(value) {
			into.stray = s.pos - 1
		}
		switch s.next() {
		case ',':
			s.pos++
		case '}':
			s.pos++
			return nil
		default:
			return s.fail("',' or '}' expected")
		}
	}
}

// skipStrayQuote skips the quote that Dovecot 2.2.19 to 2.2.32 writes after the UID
// of a message without a From header, because each member closed the quotes of the
// one before it, as in
//
//	"imap-uid":12","subject":"no from here"
//
// No valid text has a quote there, so valid ones are read as they are.
func (s *scanner) skipStrayQuote(uid []byte) (skipped bool) {
	if isDigit(uid[0]) && s.peek() == '"' {
		s.pos++
		return true
	}
	return false
}

// member reads one name and its value. The name is returned without its quotes, the
// value as it is in the text.
func (s *scanner) member(depth int) (name, value []byte, err error) {
	if s.next() != '"' {
		return nil, nil, s.fail("name of a member expected")
	}
	start := s.pos
	if err := s.text(); err != nil {
		return nil, nil, err
	}
	name = s.data[start+1 : s.pos-1]
	if s.next() != ':' {
		return nil, nil, s.fail("':' expected")
	}
	s.pos++
	s.next()
	start = s.pos
	if err := s.value(depth); err != nil {
		return nil, nil, err
	}
	return name, s.data[start:s.pos], nil
}

func (s *scanner) value(depth int) error {
	switch c := s.next(); {
	case c == '"':
		return s.text()
	case c == '-' || isDigit(c):
		return s.number()
	case c == '{':
		return s.object(depth+1, nil)
	case c == '[':
		return s.array(depth + 1)
	case c == 't':
		return s.literal("true")
	case c == 'f':
		return s.literal("false")
	case c == 'n':
		return s.literal("null")
	default:
		return s.fail("value expected")
	}
}

func (s *scanner) array(depth int) error {
	if depth > maxDepth {
		return s.fail("nested too deep")
	}
	s.pos++
	if s.next() == ']' {
		s.pos++
		return nil
	}
	for {
		if err := s.value(depth); err != nil {
			return err
		}
		switch s.next() {
		case ',':
			s.pos++
		case ']':
			s.pos++
			return nil
		default:
			return s.fail("',' or ']' expected")
		}
	}
}

// text reads a string. It need not be UTF-8: Dovecot 2.2 passes on the bytes of the
// mail.
func (s *scanner) text() error {
	s.pos++
	for {
		rest := s.data[s.pos:]
		n := 0
		for n < len(rest) && !endsRun[rest[n]] {
			n++
		}
		s.pos += n
		switch {
		case n == len(rest):
			return s.fail("'\"' expected")
		case rest[n] == '"':
			s.pos++
			return nil
		case rest[n] == '\\':
			if err := s.escape(); err != nil {
				return err
			}
		default:
			return s.fail("control character in a string")
		}
	}
}

// endsRun marks the bytes of a string that do not simply stand for themselves.
var endsRun = func() (marks [256]bool) {
	for c := range byte(0x20) {
		marks[c] = true
	}
	marks['"'], marks['\\'] = true, true
	return marks
}()

func (s *scanner) escape() error {
	s.pos++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.pos++
		return nil
	case 'u':
		for range 4 {
			s.pos++
			if !isHex(s.peek()) {
				return s.fail("hexadecimal digit expected")
			}
		}
		s.pos++
		return nil
	default:
		return s.fail("unknown escape in a string")
	}
}

func (s *scanner) number() error {
	if s.peek() == '-' {
		s.pos++
	}
	if s.peek() == '0' {
		s.pos++
	} else if !s.digits() {
		return s.fail("digit expected")
	}
	if s.peek() == '.' {
		s.pos++
		if !s.digits() {
			return s.fail("digit expected")
		}
	}
	if c := s.peek(); c == 'e' || c == 'E' {
		s.pos++
		if c := s.peek(); c == '+' || c == '-' {
			s.pos++
		}
		if !s.digits() {
			return s.fail("digit expected")
		}
	}
	return nil
}

// digits reads as many digits as there are and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.pos
	for isDigit(s.peek()) {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) literal(word string) error {
	for i := range len(word) {
		if s.peek() != word[i] {
			return s.fail("value expected")
		}
		s.pos++
	}
	return nil
}

// next skips white space and returns the byte there, 0 at the end: a NUL is as
// wrong there as the end.
func (s *scanner) next() byte {
	for s.pos < len(s.data) {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// peek returns the byte at the position, 0 at the end.
func (s *scanner) peek() byte {
	if s.pos < len(s.data) {
		return s.data[s.pos]
	}
	return 0
}

func (s *scanner) fail(problem string) error {
	if s.pos >= len(s.data) {
		problem += ", but the body ends"
	}
	return &SyntaxError{Offset: s.pos, Problem: problem}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }
