// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// waitTimeout bounds every wait for a message.
const waitTimeout = 60 * time.Second

// Device is a user agent with one subscription. A device that is offline gets
// its messages when it comes back, of those with the same topic the newest.
type Device struct {
	// Endpoint is the push resource.
	Endpoint string
	// P256DH and Auth are its keys, in base64url.
	P256DH, Auth string

	t         testing.TB
	serverKey string
	private   *ecdh.PrivateKey
	auth      []byte

	mu       sync.Mutex
	messages []Message
	waiting  []Message // for a device that is offline
	offline  bool
	gone     bool
	arrived  chan struct{} // closed and replaced when a message comes
}

// Message is a message as it came.
type Message struct {
	TTL            int // seconds
	Urgency, Topic string
	// Body is what was sent.
	Body []byte
	// Plain is what was meant, decrypted.
	Plain []byte
}

func newDevice(endpoint, serverKey string) (*Device, error) {
	d := &Device{Endpoint: endpoint, serverKey: serverKey, auth: make([]byte, 16), arrived: make(chan struct{})}
	_, _ = rand.Read(d.auth)
	var err error
	if d.private, err = ecdh.P256().GenerateKey(rand.Reader); err != nil {
		return nil, err
	}
	d.P256DH = base64.RawURLEncoding.EncodeToString(d.private.PublicKey().Bytes())
	d.Auth = base64.RawURLEncoding.EncodeToString(d.auth)
	return d, nil
}

// JSON is the subscription as PushSubscription.toJSON of a browser has it,
// with the given further members.
func (d *Device) JSON(members map[string]any) string {
	all := map[string]any{
		"endpoint": d.Endpoint, "expirationTime": nil,
		"keys": map[string]string{"p256dh": d.P256DH, "auth": d.Auth},
	}
	maps.Copy(all, members)
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // a test gave something that is no JSON
	}
	return string(text)
}

// Unsubscribe ends the subscription: from now on the service answers 410.
func (d *Device) Unsubscribe() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
}

func (d *Device) isGone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gone
}

// Online connects the device to its service, or disconnects it.
func (d *Device) Online(online bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.offline = !online
	if online {
		d.messages = append(d.messages, d.waiting...)
		d.waiting = nil
		d.wake()
	}
}

func (d *Device) take(m Message) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.offline {
		d.messages = append(d.messages, m)
		d.wake()
		return
	}
	d.waiting = slices.DeleteFunc(d.waiting, func(old Message) bool { return m.Topic != "" && old.Topic == m.Topic })
	d.waiting = append(d.waiting, m)
}

func (d *Device) wake() {
	close(d.arrived)
	d.arrived = make(chan struct{})
}

// Got is how many messages have come.
func (d *Device) Got() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.messages)
}

// Messages returns all messages received until now.
func (d *Device) Messages() ([]Message, error) {
	d.mu.Lock()
	messages := slices.Clone(d.messages)
	d.mu.Unlock()
	for i := range messages {
		var err error
		if messages[i].Plain, err = Decrypt(messages[i].Body, d.private, d.auth); err != nil {
			return nil, err
		}
	}
	return messages, nil
}

// Wait waits until n messages have come and returns all that have, decrypted.
// It fails the test if they do not come, or cannot be decrypted.
func (d *Device) Wait(n int) []Message {
	d.t.Helper()
	timeout := time.After(waitTimeout)
	for {
		d.mu.Lock()
		arrived := d.arrived
		d.mu.Unlock()
		if d.Got() >= n {
			messages, err := d.Messages()
			require.NoError(d.t, err)
			return messages
		}
		select {
		case <-arrived:
		case <-timeout:
			require.FailNow(d.t, "push messages are missing", "%d of %d came", d.Got(), n)
		}
	}
}
