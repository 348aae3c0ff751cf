// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package events

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"time"
)

// sink is where a stream is written to.
type sink interface {
	// send writes b within the given time, which does not limit later sends.
	send(b []byte, within time.Duration) error
	// watch calls gone, at most once, when the client has gone away.
	watch(gone func())
	// shortenDeadline gives a send that is under way only that much more time.
	shortenDeadline(within time.Duration)
	// close ends the response; broken says that the client is gone.
	close(broken bool, within time.Duration)
}

// takeOver returns what the stream is written to, after the header. A
// connection of HTTP/1.1 is taken from the server.
func takeOver(w http.ResponseWriter, r *http.Request) (sink, error) {
	control := http.NewResponseController(w)
	if err := control.Flush(); err != nil {
		return nil, err
	}
	if r.ProtoAtLeast(1, 1) && r.ProtoMajor == 1 {
		conn, _, err := control.Hijack()
		if err == nil {
			return &connection{conn: conn}, nil
		}
		if !errors.Is(err, http.ErrNotSupported) {
			return nil, err
		}
	}
	return &response{w: w, control: control}, nil
}

// connection is a connection of HTTP/1.1 after the header of a chunked response.
type connection struct{ conn net.Conn }

func (c *connection) send(b []byte, within time.Duration) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	// One write, and so one packet or record.
	chunk := buffers.Get().(*[]byte)
	defer buffers.Put(chunk)
	out := strconv.AppendInt((*chunk)[:0], int64(len(b)), 16)
	out = append(out, "\r\n"...)
	out = append(out, b...)
	out = append(out, "\r\n"...)
	*chunk = out[:0]
	_, err := c.conn.Write(out)
	return err
}

// watch waits for the end of what the client sends. A client that has a stream
// has nothing to send, so anything is the end.
func (c *connection) watch(gone func()) {
	go func() { // until the connection is closed
		_, _ = c.conn.Read(make([]byte, 1))
		gone()
	}()
}

func (c *connection) shortenDeadline(within time.Duration) {
	_ = c.conn.SetWriteDeadline(time.Now().Add(within))
}

func (c *connection) close(broken bool, within time.Duration) {
	if !broken {
		_ = c.conn.SetWriteDeadline(time.Now().Add(within))
		_, _ = c.conn.Write([]byte("0\r\n\r\n"))
	}
	_ = c.conn.Close()
}

// response is a response of HTTP/2 or later, and whatever else cannot be taken
// over. The goroutine of the request waits for it to be done.
type response struct {
	w       http.ResponseWriter
	control *http.ResponseController
	done    chan struct{}
}

func (r *response) send(b []byte, within time.Duration) error {
	if err := r.control.SetWriteDeadline(time.Now().Add(within)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := r.w.Write(b); err != nil {
		return err
	}
	if err := r.control.Flush(); err != nil {
		return err
	}
	_ = r.control.SetWriteDeadline(time.Time{})
	return nil
}

func (*response) watch(func()) {} // the request's context ends

func (r *response) shortenDeadline(within time.Duration) {
	_ = r.control.SetWriteDeadline(time.Now().Add(within))
}

func (r *response) close(bool, time.Duration) { close(r.done) }
