// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Credentials of the endpoint and of the middleware.
const (
	notifyUser, notifyPassword = "dovecot", "notify:secret"
	oxUser, oxPassword         = "login", "ox-secret"
	notifyPath                 = "/preliminary/http-notify/v1/notify"
)

// waitTimeout bounds every wait for something that has to happen.
const waitTimeout = 60 * time.Second

// middleware stands in for the Open-Xchange middleware: it takes the PUT that
// Dovecot would send it, asks for its credentials, and keeps what came.
type middleware struct {
	t    testing.TB
	addr string

	mu      sync.Mutex
	server  *http.Server
	bodies  [][]byte
	arrived chan struct{} // closed and replaced when something comes
	status  int
	hang    chan struct{} // requests wait for it to be closed, if not nil
}

// received is one notification that the middleware got.
type received struct {
	User        string  `json:"user"`
	Event       string  `json:"event"`
	Folder      string  `json:"folder"`
	UIDValidity uint32  `json:"imap-uidvalidity"`
	UID         uint32  `json:"imap-uid"`
	From        string  `json:"from"`
	Subject     string  `json:"subject"`
	Unseen      *uint32 `json:"unseen"`
}

func startMiddleware(t testing.TB) *middleware {
	t.Helper()
	m := &middleware{t: t, arrived: make(chan struct{}), status: http.StatusOK}
	l, err := net.Listen("tcp", freeAddress(t)) // up comes back to it
	require.NoError(t, err)
	m.addr = l.Addr().String()
	m.serve(l)
	t.Cleanup(func() {
		m.release()
		m.down()
	})
	return m
}

func (m *middleware) serve(l net.Listener) {
	server := &http.Server{Handler: http.HandlerFunc(m.notify)}
	m.mu.Lock()
	m.server = server
	m.mu.Unlock()
	go server.Serve(l)
}

// down closes the port; up opens it again.
func (m *middleware) down() { m.server.Close() }

func (m *middleware) up() {
	m.t.Helper()
	var l net.Listener
	require.Eventually(m.t, func() (ok bool) {
		var err error
		l, err = net.Listen("tcp", m.addr)
		return err == nil
	}, waitTimeout, 10*time.Millisecond, "port of the middleware")
	m.serve(l)
}

// hangFrom makes every request hang until release.
func (m *middleware) hangFromNow() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hang = make(chan struct{})
}

func (m *middleware) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.hang != nil {
		close(m.hang)
		m.hang = nil
	}
}

func (m *middleware) notify(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	switch {
	case r.Method != http.MethodPut, r.URL.Path != notifyPath, r.Header.Get("Content-Type") != "application/json; charset=utf-8":
		w.WriteHeader(http.StatusTeapot)
		return
	case user != oxUser || password != oxPassword:
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	m.mu.Lock()
	hang, status := m.hang, m.status
	m.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if status != http.StatusOK {
		return
	}
	_, _ = io.WriteString(w, `{"success":true}`)
	if bytes.Contains(body, []byte(`"doctorProbe"`)) {
		return // as every event but messageNew is ignored by the real one
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.bodies = append(m.bodies, body)
	close(m.arrived)
	m.arrived = make(chan struct{})
}

// got returns the bodies received until now.
func (m *middleware) got() [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.bodies)
}

// wait waits until n notifications have come, and then a moment longer for
// those that should not have.
func (m *middleware) wait(n int) []received {
	m.t.Helper()
	for {
		m.mu.Lock()
		have, arrived := len(m.bodies), m.arrived
		m.mu.Unlock()
		if have >= n {
			break
		}
		select {
		case <-arrived:
		case <-time.After(waitTimeout): // since the last one: how fast they come is the machine's
			require.FailNow(m.t, "notifications are missing", "%d of %d came", have, n)
		}
	}
	time.Sleep(300 * time.Millisecond)
	bodies := m.got()
	require.Len(m.t, bodies, n, "notifications at the middleware")
	return decode(m.t, bodies)
}

func decode(t testing.TB, bodies [][]byte) []received {
	t.Helper()
	all := make([]received, len(bodies))
	for i, body := range bodies {
		require.NoError(t, json.Unmarshal(body, &all[i]), "%s", body)
	}
	return all
}
