// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package rawhttp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/quic-go/qpack"
	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/quicvarint"
	"github.com/stretchr/testify/require"
)

// Frames and streams of HTTP/3 (RFC 9114).
const (
	controlStream = 0x0
	headersFrame  = 0x1
	settingsFrame = 0x4
)

// HTTP3 is a connection over HTTP/3.
type HTTP3 struct {
	conn      *quic.Conn
	authority string
}

// Dial3 connects. The connection ends with the test.
func Dial3(t testing.TB, address string, config *tls.Config) (*HTTP3, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	config = config.Clone()
	config.NextProtos = []string{"h3"}
	conn, err := quic.DialAddr(ctx, address, config, nil)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = conn.CloseWithError(0, "") })
	control, err := conn.OpenUniStream()
	if err != nil {
		return nil, err
	}
	_, err = control.Write([]byte{controlStream, settingsFrame, 0})
	return &HTTP3{conn, address}, err
}

// Get sends :path as it is, and returns the status. What is refused without one
// returns the negative code of the error.
func (c *HTTP3) Get(t testing.TB, path string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	stream, err := c.conn.OpenStreamSync(ctx)
	require.NoError(t, err)
	stop := context.AfterFunc(ctx, func() { stream.CancelRead(0) })
	defer stop()
	var block bytes.Buffer
	enc := qpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", c.authority}, {":path", path}} {
		require.NoError(t, enc.WriteField(qpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	frame := quicvarint.Append([]byte{headersFrame}, uint64(block.Len()))
	// Both may fail where the answer is there already.
	_, _ = stream.Write(append(frame, block.Bytes()...))
	_ = stream.Close()
	status, err := readStatus(stream)
	if refused := (*quic.StreamError)(nil); errors.As(err, &refused) && refused.Remote {
		return -int(refused.ErrorCode)
	}
	require.NoError(t, err, path)
	_, _ = io.Copy(io.Discard, stream)
	return status
}

// readStatus reads up to the header of the response.
func readStatus(stream io.Reader) (status int, err error) {
	r := quicvarint.NewReader(stream)
	for {
		kind, err := quicvarint.Read(r)
		if err != nil {
			return 0, err
		}
		length, err := quicvarint.Read(r)
		if err != nil {
			return 0, err
		}
		payload := make([]byte, length)
		if _, err := io.ReadFull(r, payload); err != nil {
			return 0, err
		}
		if kind != headersFrame {
			continue
		}
		for next := qpack.NewDecoder().Decode(payload); ; {
			f, err := next()
			if err != nil {
				return 0, err
			}
			if f.Name == ":status" {
				_, err = fmt.Sscan(f.Value, &status)
				return status, err
			}
		}
	}
}
