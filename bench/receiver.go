// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// receiver is a webhook that answers 200 at once. Like load it is written close
// to the socket, so that it takes little of the machine.
type receiver struct {
	address  string
	listener net.Listener
	answered atomic.Int64

	mu        sync.Mutex
	latencies []time.Duration // from sending to answering, of what was sent lately
}

func (b *bench) receiver() (*receiver, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	b.closers = append(b.closers, l)
	r := &receiver{address: l.Addr().String(), listener: l}
	go r.serve()
	return r, nil
}

func (r *receiver) serve() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		go r.connection(conn)
	}
}

var answerOK = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

func (r *receiver) connection(conn net.Conn) {
	defer conn.Close()
	requests := bufio.NewReader(conn)
	var body []byte
	for {
		var err error
		if body, err = readRequest(requests, body); err != nil {
			return
		}
		r.note(body)
		if _, err := conn.Write(answerOK); err != nil {
			return
		}
	}
}

// readRequest returns the body of the next request, in the given memory.
func readRequest(r *bufio.Reader, body []byte) ([]byte, error) {
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return body, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return body, err
			}
		}
	}
	if length < 0 {
		return body, errors.New("a request without a length")
	}
	body = slices.Grow(body[:0], length)[:length]
	_, err := io.ReadFull(r, body)
	return body, err
}

func (r *receiver) note(body []byte) {
	_, rest, _ := bytes.Cut(body, []byte(`"uid":`))
	if len(rest) >= len(uidDigits) {
		if uid, err := strconv.ParseUint(string(rest[:len(uidDigits)]), 10, 64); err == nil {
			if age, known := sinceSent(uid); known {
				r.mu.Lock()
				r.latencies = append(r.latencies, age)
				r.mu.Unlock()
			}
		}
	}
	r.answered.Add(1)
}

// takeLatencies returns the latencies since it was called the last time.
func (r *receiver) takeLatencies() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.latencies
	r.latencies = nil
	return all
}

// until waits until that many were answered in all.
func (r *receiver) until(answered int64) error {
	for last, since := int64(0), time.Now(); ; time.Sleep(time.Millisecond) {
		now := r.answered.Load()
		switch {
		case now >= answered:
			return nil
		case now != last:
			last, since = now, time.Now()
		case time.Since(since) > time.Minute:
			return fmt.Errorf("the webhook got %d of %d, and nothing for a minute", now, answered)
		}
	}
}

// while runs send, which returns how many it sent, and waits until all of them
// were answered. The time of the result is that until the last answer, and its
// latencies are those from sending to answering.
func (r *receiver) while(send func() (int64, error)) (result, error) {
	r.takeLatencies()
	before, start := r.answered.Load(), time.Now()
	sent, err := send()
	if err != nil {
		return result{}, err
	}
	if err := r.until(before + sent); err != nil {
		return result{}, err
	}
	took := time.Since(start)
	res := newResult(r.takeLatencies(), took)
	res.requests = sent
	return res, nil
}
