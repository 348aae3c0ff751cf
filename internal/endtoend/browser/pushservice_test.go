// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/stretchr/testify/assert"
)

// pushService is a push service for browsers. Servers send to it as to any
// other (RFC 8030, over TLS); Firefox is connected to it with the protocol that
// Mozilla's speaks, over a WebSocket.
type pushService struct {
	t         *testing.T
	endpoints *httptest.Server
	browsers  *httptest.Server

	mu            sync.Mutex
	conn          *websocket.Conn
	agent         string            // the name that Firefox was given
	subscriptions map[string]string // the VAPID key of each
	acknowledged  int

	// device, if set, is the browser that takes messages in the place of one
	// that is connected. It returns false if it has no such subscription.
	device func(subscription string, body []byte) bool
}

func startPushService(t *testing.T) *pushService {
	t.Helper()
	s := &pushService{t: t, subscriptions: make(map[string]string)}
	s.endpoints = httptest.NewTLSServer(http.HandlerFunc(s.take))
	s.browsers = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(func() {
		s.drop()
		s.browsers.Close()
		s.endpoints.Close()
	})
	return s
}

func (s *pushService) webSocketURL() string {
	return "ws" + strings.TrimPrefix(s.browsers.URL, "http") + "/"
}

// endpoint is what the URL of each subscription starts with.
func (s *pushService) endpoint() string { return s.endpoints.URL + "/push/" }

// take takes a message of a server.
func (s *pushService) take(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if r.Method != http.MethodPost || r.Header.Get("TTL") == "" || r.Header.Get("Content-Encoding") != "aes128gcm" ||
		!strings.HasPrefix(r.Header.Get("Authorization"), "vapid ") || len(body) > 4096 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	id := strings.TrimPrefix(r.URL.Path, "/push/")
	known := s.device != nil && s.device(id, body) || s.device == nil && s.forward(r, id, body)
	if !known {
		w.WriteHeader(http.StatusGone)
		return
	}
	w.Header().Set("Location", s.endpoints.URL+"/message/"+rand.Text())
	w.WriteHeader(http.StatusCreated)
}

// forward gives a message to the Firefox that is connected.
func (s *pushService) forward(r *http.Request, id string, body []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, known := s.subscriptions[id]
	if !known {
		return false
	}
	assert.Contains(s.t, r.Header.Get("Authorization"), strings.TrimRight(key, "="), "the key that the subscription was made with")
	return s.conn != nil && assert.NoError(s.t, wsjson.Write(r.Context(), s.conn, map[string]any{
		"messageType": "notification", "channelID": id, "version": rand.Text(), "ttl": 60,
		"data": base64.RawURLEncoding.EncodeToString(body), "headers": map[string]string{"encoding": r.Header.Get("Content-Encoding")},
	}))
}

// serve is the connection of a Firefox.
func (s *pushService) serve(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, Subprotocols: []string{"push-notification"}})
	if err != nil {
		return
	}
	defer conn.CloseNow()
	for {
		var in struct {
			MessageType, ChannelID, Key, UAID string
		}
		if err := wsjson.Read(r.Context(), conn, &in); err != nil {
			return
		}
		if err := s.answer(r.Context(), conn, in.MessageType, in.ChannelID, in.Key); err != nil {
			return
		}
	}
}

func (s *pushService) answer(ctx context.Context, conn *websocket.Conn, kind, channel, key string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := map[string]any{"messageType": kind, "channelID": channel, "status": http.StatusOK}
	switch kind {
	case "hello":
		s.conn = conn
		if s.agent == "" {
			name := make([]byte, 16)
			_, _ = rand.Read(name)
			s.agent = hex.EncodeToString(name)
		}
		answer = map[string]any{"messageType": kind, "uaid": s.agent, "status": http.StatusOK, "use_webpush": true, "broadcasts": map[string]string{}}
	case "register":
		s.subscriptions[channel] = key
		answer["pushEndpoint"] = s.endpoint() + channel
	case "unregister":
		delete(s.subscriptions, channel)
	case "ack":
		s.acknowledged++
		return nil
	case "": // a sign of life
		answer = map[string]any{}
	default:
		return nil
	}
	return wsjson.Write(ctx, conn, answer)
}

// forget makes the service know nothing of the browser any more, as after a
// loss of its data: the browser has to subscribe again.
func (s *pushService) forget() {
	s.mu.Lock()
	s.agent = ""
	clear(s.subscriptions)
	s.mu.Unlock()
	s.drop()
}

// drop cuts the connection to the browser.
func (s *pushService) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		_ = s.conn.CloseNow()
		s.conn = nil
	}
}

func (s *pushService) known() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.subscriptions)
}
