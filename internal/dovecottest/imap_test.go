// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// setMetadata registers the default user over IMAP, coming from the given
// address. The error tells what the server answered if that was not OK.
func setMetadata(t *testing.T, s *Server, from string) error {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: time.Minute}
	conn, err := dialer.Dial("tcp", s.IMAPAddr())
	require.NoError(t, err)
	text := textproto.NewConn(conn)
	defer text.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = text.ReadLine()
	require.NoError(t, err)

	command := func(tag, line string) error {
		require.NoError(t, text.PrintfLine("%s %s", tag, line))
		for {
			answer, err := text.ReadLine()
			require.NoError(t, err)
			if status, tagged := strings.CutPrefix(answer, tag+" "); tagged && strings.HasPrefix(status, "OK") {
				return nil
			} else if tagged {
				return fmt.Errorf("imap: %s", status)
			}
		}
	}
	require.NoError(t, command("a", fmt.Sprintf("LOGIN %s %s", DefaultUser, DefaultPassword)))
	return command("b", fmt.Sprintf("SETMETADATA \"\" (%s \"user=%s\")", MetadataKey, DefaultUser))
}
