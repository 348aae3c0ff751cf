// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"net/netip"
	"strings"

	"go4.org/netipx"

	"github.com/dovecotpush/caddy-dovecot-push/internal/network"
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

// few reports whether the set lists some networks, and not everybody except some.
func (a addresses) few() bool {
	for _, p := range a.prefixes() {
		if p.Bits() < 8 {
			return false
		}
	}
	return true
}

// String returns the set as the option allow takes it.
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

// readAddresses reads a network in the forms that Apache has for it. It takes a
// length also after the beginning of an address.
func readAddresses(text string) (addresses, bool) {
	if address, length, ok := strings.Cut(text, "/"); ok && !strings.Contains(address, ":") {
		address = strings.TrimSuffix(address, ".")
		text = address + strings.Repeat(".0", max(3-strings.Count(address, "."), 0)) + "/" + length
	}
	prefix, err := network.Parse(text)
	if err != nil || prefix.Addr().Is4() && strings.Contains(text, ":") {
		return addresses{}, false
	}
	var b netipx.IPSetBuilder
	b.AddPrefix(prefix)
	return built(&b), true
}
