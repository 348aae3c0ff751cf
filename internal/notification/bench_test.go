// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"strings"
	"testing"
)

func BenchmarkDecode(b *testing.B) {
	for name, body := range map[string][]byte{
		"plain 253 B":         fixture(b, "2.4.1/01-plain-ascii.http").body,
		"encoded-words 324 B": fixture(b, "2.4.1/02-encoded-words.http").body,
		"stray quote 163 B":   fixture(b, "2.2.27/11-no-from.http").body,
		"subject 1 MiB":       withSubject(strings.Repeat("many words, ", 1<<20/12)),
		"hostile subject":     withSubject(strings.Repeat("=?utf-8?q?x ", 1000) + "?="),
		"unused event 598 B":  fixture(b, "2.4.1/70-lua-copy-1.http").body,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			var d Decoder
			for b.Loop() {
				_, _ = d.Decode(body)
			}
		})
	}
}

func BenchmarkIdentify(b *testing.B) {
	body := fixture(b, "2.4.1/01-plain-ascii.http").body
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := Identify(body, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkIdentity(b *testing.B) {
	body := fixture(b, "2.4.1/01-plain-ascii.http").body
	n, err := new(Decoder).Decode(body)
	if err != nil {
		b.Fatal(err)
	}
	for name, uid := range map[string]uint32{"known UID": 7, "unknown UID": 0} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			n := *n
			n.UID = uid
			for b.Loop() {
				_, _ = n.Identity(body, "Mon, 23 Nov 2026 16:16:18 GMT")
			}
		})
	}
}
