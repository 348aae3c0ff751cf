// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"
)

// deliverTimeout bounds the delivery of one mail.
const deliverTimeout = time.Minute

// TestSubject returns a subject for [Deliver]. It identifies the notification of
// the mail, whatever user name it is reported with.
func TestSubject() string { return "Test of push notifications " + rand.Text()[:8] }

// Deliver sends a mail with a subject to a user over LMTP (RFC 2033). address is
// host:port or the path of a socket.
func Deliver(address, user, subject string) Finding {
	f := Finding{Check: "deliver", Status: Problem, Tried: "a mail by LMTP to " + address}
	network := "tcp"
	if strings.HasPrefix(address, "/") {
		network = "unix"
	}
	raw, err := net.DialTimeout(network, address, probeTimeout)
	if err != nil {
		f.Got, f.Fix = "no connection: "+err.Error(), "Give the address of Dovecot's LMTP service: \"doveconf service/lmtp\" shows it."
		return f
	}
	_ = raw.SetDeadline(time.Now().Add(deliverTimeout))
	conn := textproto.NewConn(raw)
	defer conn.Close()
	start := time.Now()
	if err := lmtp(conn, user, subject); err != nil {
		f.Got, f.Fix = err.Error(), "Does the user exist? Dovecot's log says more."
		return f
	}
	f.Status, f.Got = OK, fmt.Sprintf("accepted after %s", time.Since(start).Round(time.Millisecond))
	return f
}

var errLineBreak = errors.New("a line break is in the name of the user")

func lmtp(conn *textproto.Conn, user, subject string) error {
	if _, _, err := conn.ReadResponse(220); err != nil {
		return err
	}
	for _, step := range []struct {
		command string
		want    int
	}{
		{"LHLO localhost", 250},
		{"MAIL FROM:<>", 250},
		{"RCPT TO:<" + user + ">", 250},
		{"DATA", 354},
	} {
		if strings.ContainsAny(step.command, "\r\n") {
			return errLineBreak
		}
		id, err := conn.Cmd("%s", step.command)
		if err != nil {
			return err
		}
		conn.StartResponse(id)
		_, _, err = conn.ReadResponse(step.want)
		conn.EndResponse(id)
		if err != nil {
			return err
		}
	}
	w := conn.DotWriter()
	now := time.Now()
	fmt.Fprintf(w, "From: Caddy <caddy@localhost>\nTo: <%s>\nSubject: %s\nDate: %s\nMessage-ID: <%s@caddy.localhost>\n\n"+
		"This mail tests whether push notifications work. You can delete it.\n", user, subject, now.Format(time.RFC1123Z), rand.Text())
	if err := w.Close(); err != nil {
		return err
	}
	_, _, err := conn.ReadResponse(250)
	return err
}
