// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// sentName returns the server name (SNI) that Dovecot sends where crypto/tls
// sends none: for a URL with an address that is the address, in brackets if the
// URL has them.
func sentName(u *url.URL) string {
	if _, err := netip.ParseAddr(u.Hostname()); err != nil {
		return ""
	}
	return strings.TrimSuffix(u.Host, ":"+u.Port())
}

// tlsAlert is the type of the TLS record with which a server refuses a hello.
const tlsAlert = 21

// refusedName sends a hello with a server name that crypto/tls would not send. It
// returns why the server refuses it, or nothing if it does not, or cannot be
// reached.
func refusedName(ctx context.Context, u *url.URL, name string) string {
	address := u.Host
	if u.Port() == "" {
		address = net.JoinHostPort(u.Hostname(), "443")
	}
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return ""
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	hello, err := helloWith(name)
	if err != nil {
		return ""
	}
	var header [7]byte
	if _, err := conn.Write(hello); err != nil {
		return ""
	}
	if _, err := io.ReadFull(conn, header[:]); err != nil || header[0] != tlsAlert {
		return ""
	}
	return fmt.Sprintf("the server ends the handshake: %s", tls.AlertError(header[6]))
}

// helloWith returns a ClientHello with any server name. It is made with a name of
// the same length that crypto/tls accepts, which is then replaced.
func helloWith(name string) ([]byte, error) {
	stand := strings.Repeat("x", len(name))
	var hello recorder
	client := tls.Client(&hello, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: stand})
	_ = client.Handshake() // nobody answers
	extension := func(name string) []byte {
		length := uint16(len(name))
		b := []byte{0, 0} // the extension server_name
		b = binary.BigEndian.AppendUint16(b, length+5)
		b = binary.BigEndian.AppendUint16(b, length+3)
		b = append(b, 0) // host_name
		b = binary.BigEndian.AppendUint16(b, length)
		return append(b, name...)
	}
	changed := bytes.Replace(hello.Bytes(), extension(stand), extension(name), 1)
	if !bytes.Contains(changed, extension(name)) {
		return nil, fmt.Errorf("a ClientHello without the server name %s", stand)
	}
	return changed, nil
}

// recorder is a connection that records what is written, and reads as ended.
type recorder struct{ bytes.Buffer }

func (*recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (*recorder) Close() error                     { return nil }
func (*recorder) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (*recorder) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (*recorder) SetDeadline(time.Time) error      { return nil }
func (*recorder) SetReadDeadline(time.Time) error  { return nil }
func (*recorder) SetWriteDeadline(time.Time) error { return nil }
