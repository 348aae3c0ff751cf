// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"

	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// connections shows how one fsync serves many connections.
func (b *bench) connections() error {
	away, err := freeport.Address()
	if err != nil {
		return err
	}
	s, err := b.caddy(b.binary, accepting(away, "sync always"))
	if err != nil {
		return err
	}
	var contenders []*contender
	for _, n := range []int{1, 10, 64, 256} {
		contenders = append(contenders, &contender{
			name: strconv.Itoa(n), server: s,
			measure: func() (result, error) {
				return load{address: s.address, connections: n, duration: *duration}.run()
			},
		})
	}
	return compare("requests/s", contenders...)
}
