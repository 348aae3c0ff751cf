// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package outbound

// Reason is why an address was refused: one of a bounded set of words.
type Reason string

// The reasons.
const (
	// Malformed: it is no URL, or one that programs read in different ways.
	Malformed Reason = "malformed"
	// Scheme: it does not begin with https://.
	Scheme Reason = "scheme"
	// Userinfo: there is a user name or password before the host.
	Userinfo Reason = "userinfo"
	// Port: it is not 443.
	Port Reason = "port"
	// Name: the host name is not one of the public DNS.
	Name Reason = "name"

	// What the address is that the host stands for or resolves to.

	Loopback      Reason = "loopback"
	Private       Reason = "private"
	SharedSpace   Reason = "shared_address_space" // of providers (CGNAT), RFC 6598
	LinkLocal     Reason = "link_local"
	Multicast     Reason = "multicast"
	Unspecified   Reason = "unspecified"
	Documentation Reason = "documentation"
	Benchmark     Reason = "benchmark"
	Tunnel        Reason = "tunnel" // 6to4, Teredo and other IPv4 in IPv6
	Reserved      Reason = "reserved"
)

var explanations = map[Reason]string{
	Malformed:     "it is not a plain absolute URL",
	Scheme:        "it must begin with https://",
	Userinfo:      "it must not hold a user name or password",
	Port:          "the port must be 443",
	Name:          "the host must be a name in the public DNS",
	Loopback:      "the host is this machine",
	Private:       "the host is in a private network",
	SharedSpace:   "the host is in a provider's internal network",
	LinkLocal:     "the host is in the local network",
	Multicast:     "the host is a multicast address",
	Unspecified:   "the host is an unspecified address",
	Documentation: "the host is an address for documentation",
	Benchmark:     "the host is an address for benchmarks",
	Tunnel:        "the host is an address of a tunnel from IPv4 to IPv6",
	Reserved:      "the host is a reserved address",
}

// RefusedError is returned for an address that must not be connected to. Its
// text holds nothing of the address.
type RefusedError struct {
	Reason Reason
}

// Error implements error.
func (e *RefusedError) Error() string { return "address refused: " + explanations[e.Reason] }

func refuse(r Reason) error { return &RefusedError{Reason: r} }
