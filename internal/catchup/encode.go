// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package catchup

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// An entry of the journal holds marks, each as it is from then on:
//
//	entry = version(1) mark*
//	mark  = mailbox(8) flags(1) done reported found
//	        count span* count nameless*
//	span  = first last
//	nameless = headers(4) identity(4) at
//
// Numbers without a size are uvarints. A mark that is gone has the flags 0, and
// nothing after them.
const (
	entryVersion = 1
	flagThere    = 1
	flagBased    = 2
)

var errDamaged = errors.New("an entry of the journal of the catch-up is damaged")

func appendMark(b []byte, mailbox notification.Mailbox, m *mark) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(mailbox))
	if m == nil {
		return append(b, 0)
	}
	flags := byte(flagThere)
	if m.based {
		flags |= flagBased
	}
	b = append(b, flags)
	for _, n := range []uint32{m.done, m.reported, m.found, uint32(len(m.above))} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, s := range m.above {
		b = binary.AppendUvarint(b, uint64(s.first))
		b = binary.AppendUvarint(b, uint64(s.last))
	}
	b = binary.AppendUvarint(b, uint64(len(m.nameless)))
	for _, n := range m.nameless {
		b = binary.BigEndian.AppendUint32(b, n.headers)
		b = binary.BigEndian.AppendUint32(b, n.id)
		b = binary.AppendUvarint(b, uint64(n.at))
	}
	return b
}

// parseEntry calls seen with each mark, nil for one that is gone.
func parseEntry(data []byte, seen func(notification.Mailbox, *mark)) error {
	if len(data) == 0 || data[0] != entryVersion {
		return fmt.Errorf("%w: its format is unknown (written by another version?)", errDamaged)
	}
	p := parser{data: data[1:]}
	for len(p.data) > 0 {
		mailbox := notification.Mailbox(p.big(8))
		flags := p.big(1)
		if p.bad {
			return errDamaged
		}
		if flags&flagThere == 0 {
			seen(mailbox, nil)
			continue
		}
		m := &mark{based: flags&flagBased != 0, done: p.number(), reported: p.number(), found: p.number()}
		for n := p.number(); n > 0 && !p.bad; n-- {
			m.above = append(m.above, span{p.number(), p.number()})
		}
		for n := p.number(); n > 0 && !p.bad; n-- {
			m.nameless = append(m.nameless, nameless{uint32(p.big(4)), uint32(p.big(4)), p.number()})
		}
		if p.bad {
			return errDamaged
		}
		seen(mailbox, m)
	}
	return nil
}

// parser takes one number after the other off data. After an error it returns
// zeros.
type parser struct {
	data []byte
	bad  bool
}

func (p *parser) number() uint32 {
	n, size := binary.Uvarint(p.data)
	if p.bad || size <= 0 || n > 1<<32-1 {
		p.bad = true
		return 0
	}
	p.data = p.data[size:]
	return uint32(n)
}

func (p *parser) big(size int) (n uint64) {
	if p.bad || len(p.data) < size {
		p.bad = true
		return 0
	}
	for _, b := range p.data[:size] {
		n = n<<8 | uint64(b)
	}
	p.data = p.data[size:]
	return n
}
