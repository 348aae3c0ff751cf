// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load sends notifications the way Dovecot does, over a number of connections
// that are kept open, as fast as they are answered. It is written close to
// the socket, so that it takes little of the machine it shares with the server.
type load struct {
	address     string
	connections int
	// One of the two bounds the run.
	duration time.Duration
	requests int64
}

// uid makes every notification of a run of this program another one.
var uid atomic.Uint32

// nextUID has as many digits as there is room for.
func nextUID() string { return strconv.FormatUint(uint64(1_000_000_000+uid.Add(1)), 10) }

func (l load) run() (result, error) {
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		all      []time.Duration
		failed   atomic.Int64
		sent     atomic.Int64
		firstErr error
	)
	start := time.Now()
	deadline := start.Add(l.duration)
	for range l.connections {
		wg.Go(func() {
			latencies, err := l.connection(func() bool {
				if l.requests > 0 {
					return sent.Add(1) <= l.requests
				}
				return time.Now().Before(deadline)
			}, &failed)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, latencies...)
			firstErr = errors.Join(firstErr, err)
		})
	}
	wg.Wait()
	if len(all) == 0 {
		return result{}, errors.Join(errors.New("no answer at all"), firstErr)
	}
	r := newResult(all, time.Since(start))
	r.failed = failed.Load()
	return r, firstErr
}

func (l load) connection(more func() bool, failed *atomic.Int64) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	request, at := l.template()
	answers := bufio.NewReader(conn)
	var latencies []time.Duration
	for more() {
		copy(request[at:], nextUID())
		begin := time.Now()
		if _, err := conn.Write(request); err != nil {
			return latencies, err
		}
		status, err := readAnswer(answers)
		if err != nil {
			return latencies, err
		}
		latencies = append(latencies, time.Since(begin))
		if status != 200 {
			failed.Add(1)
		}
	}
	return latencies, nil
}

const notifyPath = "/preliminary/http-notify/v1/notify"

const digits = "0000000000" // of the UID, to fill in

// body is a notification as Dovecot sends it, of the usual size.
const body = `{"user":"somebody@example.com","event":"messageNew","folder":"INBOX","imap-uidvalidity":1795452971,"imap-uid":` +
	digits + `,"from":"Alice Example <alice@example.net>","subject":"Minutes of the meeting","snippet":"Hello, here are ` +
	`the minutes of our meeting of last week, please have a look before Friday.","unseen":1}`

// template is a request with ten digits of the UID to fill in at offset at.
func (l load) template() (request []byte, at int) {
	head := "PUT " + notifyPath + " HTTP/1.1\r\nHost: " + l.address + "\r\nDate: Mon, 23 Nov 2026 16:56:11 GMT\r\n" +
		"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password)) + "\r\n" +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\nConnection: Keep-Alive\r\n" +
		"Content-Type: application/json; charset=utf-8\r\n\r\n"
	request = []byte(head + body)
	return request, bytes.Index(request, []byte(digits))
}

func readAnswer(r *bufio.Reader) (status int, err error) {
	length := 0
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		line = bytes.TrimRight(line, "\r\n")
		switch {
		case first:
			if len(line) < 12 {
				return 0, fmt.Errorf("answer %q", line)
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, err
			}
		case len(line) == 0:
			_, err := io.CopyN(io.Discard, r, int64(length))
			return status, err
		case bytes.HasPrefix(line, []byte("Content-Length: ")):
			if length, err = strconv.Atoi(string(line[16:])); err != nil {
				return 0, err
			}
		}
	}
}
