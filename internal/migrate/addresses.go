// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"go4.org/netipx"
)

// addresses is a set of source addresses. The zero value is empty.
type addresses struct{ set *netipx.IPSet }

var everybody = func() addresses {
	var b netipx.IPSetBuilder
	b.AddPrefix(netip.MustParsePrefix("0.0.0.0/0"))
	b.AddPrefix(netip.MustParsePrefix("::/0"))
	return built(&b)
}()

func built(b *netipx.IPSetBuilder) addresses {
	set, err := b.IPSet()
	if err != nil { // only what was added can be wrong, and it is valid
		return addresses{}
	}
	return addresses{set}
}

func (a addresses) prefixes() []netip.Prefix {
	if a.set == nil {
		return nil
	}
	return a.set.Prefixes()
}

func (a addresses) empty() bool { return len(a.prefixes()) == 0 }

func (a addresses) all() bool { return a.equal(everybody) }

func (a addresses) equal(b addresses) bool {
	if a.empty() || b.empty() {
		return a.empty() == b.empty()
	}
	return a.set.Equal(b.set)
}

func (a addresses) builder() *netipx.IPSetBuilder {
	b := new(netipx.IPSetBuilder)
	if a.set != nil {
		b.AddSet(a.set)
	}
	return b
}

func (a addresses) or(b addresses) addresses {
	both := a.builder()
	if b.set != nil {
		both.AddSet(b.set)
	}
	return built(both)
}

func (a addresses) without(b addresses) addresses {
	rest := a.builder()
	if b.set != nil {
		rest.RemoveSet(b.set)
	}
	return built(rest)
}

func (a addresses) and(b addresses) addresses { return a.without(everybody.without(b)) }

// few reports whether the set names networks, and not all but some.
func (a addresses) few() bool {
	for _, p := range a.prefixes() {
		if p.Bits() < 8 {
			return false
		}
	}
	return true
}

// String is the set as the option allow takes it.
func (a addresses) String() string {
	var words []string
	for _, p := range a.prefixes() {
		if p.IsSingleIP() {
			words = append(words, p.Addr().String())
		} else {
			words = append(words, p.String())
		}
	}
	return strings.Join(words, " ")
}

// network reads an address, a network, or the first bytes of an IPv4 address,
// as Apache takes them.
func network(text string) (addresses, bool) {
	address, mask, masked := strings.Cut(text, "/")
	partial := 0
	if !strings.Contains(address, ":") {
		parts := strings.Split(strings.TrimSuffix(address, "."), ".")
		if len(parts) > 4 {
			return addresses{}, false
		}
		if partial = 8 * len(parts); partial < 32 {
			address = strings.Join(append(parts, []string{"0", "0", "0"}[:4-len(parts)]...), ".")
		}
	}
	addr, err := netip.ParseAddr(address)
	if err != nil || addr.Zone() != "" || addr.Is4In6() {
		return addresses{}, false
	}
	ones := addr.BitLen()
	switch {
	case masked && strings.Contains(mask, "."):
		m, err := netip.ParseAddr(mask)
		if err != nil || !m.Is4() || !addr.Is4() {
			return addresses{}, false
		}
		four := m.As4()
		ones = bits.LeadingZeros32(^binary.BigEndian.Uint32(four[:]))
		if binary.BigEndian.Uint32(four[:])<<ones != 0 { // it has holes
			return addresses{}, false
		}
	case masked:
		if ones, err = strconv.Atoi(mask); err != nil {
			return addresses{}, false
		}
	case addr.Is4():
		ones = partial
	}
	prefix, err := addr.Prefix(ones)
	if err != nil {
		return addresses{}, false
	}
	var b netipx.IPSetBuilder
	b.AddPrefix(prefix)
	return built(&b), true
}
