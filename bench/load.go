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
	duration    time.Duration
	// rate, if not 0, is how many a second are sent, in place of as many as
	// are answered.
	rate int
}

func (l load) run() (result, error) {
	var (
		wg       sync.WaitGroup
		mu       sync.Mutex
		all      []time.Duration
		failed   atomic.Int64
		firstErr error
	)
	start := time.Now()
	deadline := start.Add(l.duration)
	for i := range l.connections {
		wg.Go(func() {
			turn := start
			if l.rate > 0 { // one after the other
				turn = start.Add(time.Second * time.Duration(i-l.connections) / time.Duration(l.rate))
			}
			latencies, err := l.connection(turn, deadline, &failed)
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

func (l load) connection(turn, deadline time.Time, failed *atomic.Int64) ([]time.Duration, error) {
	conn, err := net.Dial("tcp", l.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	request := l.form()
	answers := bufio.NewReader(conn)
	var latencies []time.Duration
	for time.Now().Before(deadline) {
		if l.rate > 0 {
			turn = turn.Add(time.Second * time.Duration(l.connections) / time.Duration(l.rate))
			if !turn.Before(deadline) {
				break
			}
			time.Sleep(time.Until(turn))
		}
		request.next()
		begin := time.Now()
		if _, err := conn.Write(request.text); err != nil {
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

// form is a request with the notification to fill in.
func (l load) form() *form {
	return newForm("PUT " + notifyPath + " HTTP/1.1\r\nHost: " + l.address + "\r\nDate: Mon, 23 Nov 2026 16:56:11 GMT\r\n" +
		"Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(username+":"+password)) + "\r\n" +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\nConnection: Keep-Alive\r\n" +
		"Content-Type: application/json; charset=utf-8\r\n\r\n" + body)
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
