// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package freeport gives tests TCP ports for servers that cannot say
// themselves which port they got: Caddy, Dovecot, nats-server. No port is
// given twice, not even by test programs that run at the same time.
package freeport

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The kernel takes ports of outgoing connections from above these (Linux:
// ip_local_port_range), so that none of them can be in the way of a server
// that starts, or starts again, on a port it was given before.
const first, count = 20000, 12000

var (
	mu    sync.Mutex
	claim []net.Listener // until the process ends
)

// Get returns a port of 127.0.0.1 that nobody listens on and that nobody else
// is given while this process lives.
func Get() (int, error) {
	mu.Lock()
	defer mu.Unlock()
	var last error
	start := rand.IntN(count) //nolint:gosec // it is no secret
	for i := range count {
		port := first + (start+i)%count
		// An abstract socket leaves no file behind and ends with the process.
		c, err := net.Listen("unix", "@caddy-dovecot-push-port-"+strconv.Itoa(port))
		if err != nil {
			last = err
			continue
		}
		l, err := net.Listen("tcp", ":"+strconv.Itoa(port))
		if err != nil {
			last = err
			_ = c.Close()
			continue
		}
		if err := l.Close(); err != nil {
			return 0, fmt.Errorf("port %d: %w", port, err)
		}
		claim = append(claim, c)
		return port, nil
	}
	return 0, fmt.Errorf("no free TCP port: %w", last)
}

// Address is a port of Get with the host 127.0.0.1.
func Address() (string, error) {
	port, err := Get()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), err
}
