// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// App is an app on a phone, with a token of Apple's or Google's service.
type App struct {
	// Kind is that of the device: apns or fcm.
	Kind string
	// Token is the address.
	Token string
	// Name is the topic or the project.
	Name string
	// Environment of APNs.
	Environment string
	// P256DH and Auth are its keys, in base64url.
	P256DH, Auth string

	t       testing.TB
	private *ecdh.PrivateKey
	auth    []byte

	mu       sync.Mutex
	messages []AppMessage
	goneAt   time.Time
	arrived  chan struct{} // closed and replaced when a message comes
}

// AppMessage is a message as it came.
type AppMessage struct {
	Header http.Header
	// Body is what was sent: the payload of APNs, the message of FCM.
	Body []byte
	// Text is what the app is given beside the envelope, and Sealed whether it was
	// encrypted for it.
	Text   []byte
	Sealed bool
}

// counting counts connections.
func counting(opened *atomic.Int64) func(net.Conn, http.ConnState) {
	return func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			opened.Add(1)
		}
	}
}

func newApp(kind, token, name, environment string) (*App, error) {
	a := &App{Kind: kind, Token: token, Name: name, Environment: environment, auth: make([]byte, 16), arrived: make(chan struct{})}
	_, _ = rand.Read(a.auth)
	var err error
	if a.private, err = ecdh.P256().GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	a.P256DH = base64.RawURLEncoding.EncodeToString(a.private.PublicKey().Bytes())
	a.Auth = base64.RawURLEncoding.EncodeToString(a.auth)
	return a, nil
}

// JSON is what the app sends to the API of users, with the given further members.
func (a *App) JSON(members map[string]any) string {
	all := map[string]any{
		"kind": a.Kind, "token": a.Token, "app": a.Name, "keys": map[string]string{"p256dh": a.P256DH, "auth": a.Auth},
	}
	if a.Environment != "" {
		all["environment"] = a.Environment
	}
	maps.Copy(all, members)
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // a test gave something that is no JSON
	}
	return string(text)
}

// Uninstall removes the app: from now on the service says that it is gone.
func (a *App) Uninstall() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.goneAt = time.Now()
}

func (a *App) gone() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.goneAt
}

func (a *App) take(m AppMessage) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.messages = append(a.messages, m)
	close(a.arrived)
	a.arrived = make(chan struct{})
}

// open reads what was given to the app, as its extension does.
func (a *App) open(text, seal string) ([]byte, bool, error) {
	if seal == "" {
		return []byte(text), false, nil
	}
	body, err := base64.RawURLEncoding.DecodeString(seal)
	if err != nil {
		return nil, true, err
	}
	plain, err := Decrypt(body, a.private, a.auth)
	return plain, true, err
}

// Got is how many messages have come.
func (a *App) Got() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.messages)
}

// Wait waits until n messages have come and returns all that have. It fails the
// test if they do not come.
func (a *App) Wait(n int) []AppMessage {
	a.t.Helper()
	timeout := time.After(waitTimeout)
	for {
		a.mu.Lock()
		arrived, messages := a.arrived, slices.Clone(a.messages)
		a.mu.Unlock()
		if len(messages) >= n {
			return messages
		}
		select {
		case <-arrived:
		case <-timeout:
			require.FailNow(a.t, "messages are missing", "%d of %d came", len(messages), n)
		}
	}
}
