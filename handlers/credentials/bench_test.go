// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func BenchmarkVerify(b *testing.B) {
	for _, bb := range []struct {
		name string
		pair Pair
	}{
		{"plain", plain("dovecot", "aCee8ahyaeth3aiPhahp")},
		{"hash", bcrypted(b, "dovecot", "aCee8ahyaeth3aiPhahp")},
	} {
		b.Run(bb.name, func(b *testing.B) {
			v := verifier(b, bb.pair)
			r := request("dovecot", "aCee8ahyaeth3aiPhahp")
			require.Equal(b, Accepted, v.Verify(r, home).Verdict)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					v.Verify(r, home)
				}
			})
		})
	}
}

// A mail server's requests leave little to collect.
func TestVerifyAllocations(t *testing.T) {
	for name, tt := range map[string]struct {
		pair Pair
		most float64
	}{
		"plain": {plain("dovecot", "aCee8ahyaeth3aiPhahp"), 2},
		"hash":  {bcrypted(t, "dovecot", "aCee8ahyaeth3aiPhahp"), 8},
	} {
		v := verifier(t, tt.pair)
		r := request("dovecot", "aCee8ahyaeth3aiPhahp")
		v.Verify(r, home)
		require.LessOrEqual(t, testing.AllocsPerRun(100, func() { v.Verify(r, home) }), tt.most, name)
	}
}
