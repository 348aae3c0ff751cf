// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
)

// An IMAP server that did not answer a call is asked until it does.
func TestIMAPServerIsBack(t *testing.T) {
	address, err := freeport.Address()
	require.NoError(t, err)
	server, err := imap.New(imap.Config{URL: "imap://" + address})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	back := make(chan struct{}, 10)
	var watching sync.WaitGroup
	watching.Go(func() { watchIMAP(ctx, server, func() { back <- struct{}{} }) })
	defer watching.Wait()
	defer cancel()
	for range 2 {
		require.Error(t, server.Probe(t.Context()))
		require.Empty(t, back)
		l, err := net.Listen("tcp", address)
		require.NoError(t, err)
		var serving sync.WaitGroup
		serving.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				serving.Go(func() {
					defer c.Close()
					_, _ = io.WriteString(c, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n")
					_, _ = io.Copy(io.Discard, c)
				})
			}
		})
		select {
		case <-back:
		case <-time.After(time.Minute):
			require.FailNow(t, "the server is back, and nobody was told")
		}
		require.NoError(t, l.Close())
		serving.Wait()
	}
}
