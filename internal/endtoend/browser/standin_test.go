// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"cmp"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/page"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// Whom the servers of these tests know.
const (
	user     = "alice@example.com"
	password = "alice’s password"
)

// beginning is the position with which a stream has the history.
const beginning = "0"

// mail is what the event stream and the pushes tell about one.
type mail struct {
	Type        string    `json:"@type"`
	ID          string    `json:"id"`
	Folder      string    `json:"folder"`
	UID         int       `json:"uid"`
	UIDValidity int       `json:"uidValidity"`
	Event       string    `json:"event"`
	Unseen      int       `json:"unseen,omitempty"`
	From        string    `json:"from,omitempty"`
	Subject     string    `json:"subject,omitempty"`
	Snippet     string    `json:"snippet,omitempty"`
	Time        time.Time `json:"time"`
	Actions     any       `json:"actions,omitempty"`
}

// newMail is the nth mail of a mailbox.
func newMail(n int, from, subject string) mail {
	return mail{
		Type: "Mail", ID: fmt.Sprintf("mail-%d", n), Folder: "INBOX", UID: n, UIDValidity: 1, Event: "messageNew",
		Unseen: n, From: from, Subject: subject, Time: time.Now(),
	}
}

// device is a subscription as the API shows it, and what it does not show.
type device struct {
	ID             string                 `json:"id"`
	Name           string                 `json:"name"`
	DeviceClientID string                 `json:"deviceClientId"`
	EndpointHost   string                 `json:"endpointHost,omitempty"`
	Kind           string                 `json:"kind,omitempty"`
	App            string                 `json:"app,omitempty"`
	Confirmed      bool                   `json:"confirmed"`
	Created        time.Time              `json:"created"`
	Expires        time.Time              `json:"expires"`
	LastDelivery   *subscription.Delivery `json:"lastDelivery"`

	Preferences subscription.Preferences `json:"preferences"`
	MaxContent  string                   `json:"maxContent,omitempty"`

	code           string
	endpoint, auth string
	p256dh         string
	page, lang     string
}

// standIn is the page on an API that a test plays with: it can be in states
// that the real one is brought into with effort, and answers at once.
type standIn struct {
	t    *testing.T
	site string // the URL of the page

	mu            sync.Mutex
	config        map[string]any
	refusal       func(r *http.Request) (status int, retryAfter time.Duration) // if set and the status is not 0, the answer
	refusedField  string                                                       // if set, a change is refused because of it
	sessions      map[string]bool
	subscriptions []*device
	defaults      subscription.Preferences
	streams       map[chan string]bool
	history       []string // what the streams had
	notice        string   // about the session
	streamed      []string // the Last-Event-ID of each stream that was opened
	push          func(s *device, payload string)
	pushing       sync.WaitGroup
	actions       []map[string]any // the tickets that were handed in
}

// startStandIn serves the page and the stand-in below /push/.
func startStandIn(t *testing.T, options page.Options) *standIn {
	t.Helper()
	s := &standIn{
		t: t, sessions: make(map[string]bool), streams: make(map[chan string]bool),
		config: map[string]any{"login": "imap", "kinds": []string{"webpush"}, "applicationServerKey": serverKey, "webmailURL": nil, "mailURL": nil},
		push:   func(*device, string) {},
	}
	api := http.NewServeMux()
	api.HandleFunc("GET /api/config", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, s.config) })
	api.HandleFunc("POST /api/session", s.signIn)
	api.HandleFunc("GET /api/session", s.signedIn(func(w http.ResponseWriter, _ *http.Request) {
		s.answerSession(w)
	}))
	api.HandleFunc("DELETE /api/session", s.signedIn(s.signOut))
	api.HandleFunc("GET /api/events", s.signedIn(s.events))
	api.HandleFunc("GET /api/subscriptions", s.signedIn(func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		answer(w, http.StatusOK, map[string]any{"subscriptions": append([]*device{}, s.subscriptions...), "defaults": s.defaults})
	}))
	api.HandleFunc("POST /api/subscriptions", s.signedIn(s.subscribe))
	api.HandleFunc("PATCH /api/subscriptions/{id}", s.signedIn(s.change))
	api.HandleFunc("DELETE /api/subscriptions/{id}", s.signedIn(s.remove))
	api.HandleFunc("POST /api/subscriptions/{id}/test", s.signedIn(s.test))
	api.HandleFunc("POST /api/actions", s.act)
	api.Handle("/", page.New(options))
	server := httptest.NewServer(http.StripPrefix("/push", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		refusal := s.refusal
		s.mu.Unlock()
		if refusal != nil {
			if status, retryAfter := refusal(r); status != 0 {
				if retryAfter > 0 {
					w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
				}
				answer(w, status, map[string]any{"status": status})
				return
			}
		}
		api.ServeHTTP(w, r)
	})))
	t.Cleanup(func() {
		s.pushing.Wait()
		server.CloseClientConnections()
		server.Close()
	})
	s.site = server.URL + "/push/"
	return s
}

// with changes the stand-in between two requests.
func (s *standIn) with(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// refuse answers requests for a path, or any of them, with a status; 0 ends it.
func (s *standIn) refuse(method, path string, status int, retryAfter time.Duration) {
	s.t.Helper()
	s.with(func() {
		s.refusal = func(r *http.Request) (int, time.Duration) {
			if (method == "" || r.Method == method) && (path == "" || r.URL.Path == path) {
				return status, retryAfter
			}
			return 0, 0
		}
	})
}

func answer(w http.ResponseWriter, status int, value any) {
	mediaType := "application/json"
	if status >= 400 {
		mediaType = "application/problem+json"
	}
	w.Header().Set("Content-Type", mediaType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(value)
}

func (s *standIn) signIn(w http.ResponseWriter, r *http.Request) {
	var login struct{ Username, Password string }
	if err := json.NewDecoder(r.Body).Decode(&login); err != nil || login.Username != user || login.Password != password {
		answer(w, http.StatusUnauthorized, map[string]any{"status": http.StatusUnauthorized})
		return
	}
	id := rand.Text()
	s.with(func() { s.sessions[id] = true })
	http.SetCookie(w, &http.Cookie{Name: "session", Value: id, Path: "/push/", HttpOnly: true, Secure: true, SameSite: http.SameSiteStrictMode})
	s.answerSession(w)
}

func (s *standIn) answerSession(w http.ResponseWriter) {
	session := map[string]any{"user": user, "expires": time.Now().Add(time.Hour)}
	s.with(func() {
		if s.notice != "" {
			session["notice"] = s.notice
		}
	})
	answer(w, http.StatusOK, session)
}

func (s *standIn) signedIn(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		cookie, err := r.Cookie("session")
		s.mu.Lock()
		known := err == nil && s.sessions[cookie.Value]
		s.mu.Unlock()
		if !known {
			answer(w, http.StatusUnauthorized, map[string]any{"status": http.StatusUnauthorized})
			return
		}
		next(w, r)
	}
}

func (s *standIn) signOut(w http.ResponseWriter, _ *http.Request) {
	s.with(func() { clear(s.sessions) })
	w.WriteHeader(http.StatusNoContent)
}

func (s *standIn) events(w http.ResponseWriter, r *http.Request) {
	stream := make(chan string, 16)
	var history []string
	s.with(func() {
		s.streams[stream] = true
		lastID := cmp.Or(r.Header.Get("Last-Event-ID"), r.URL.Query().Get("last-event-id"))
		s.streamed = append(s.streamed, lastID)
		if lastID == beginning {
			history = append(slices.Clone(s.history), fmt.Sprintf("id: history-%d\nevent: current\ndata: {\"@type\":\"Current\"}\n\n", len(s.streamed)))
		}
	})
	defer s.with(func() { delete(s.streams, stream) })
	w.Header().Set("Content-Type", "text/event-stream")
	fmt.Fprint(w, ": hello\nretry: 100\n\n"+strings.Join(history, ""))
	for {
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case event, open := <-stream:
			if !open {
				return
			}
			fmt.Fprint(w, event)
		}
	}
}

// emit sends an event to all streams, which must be there.
func (s *standIn) emit(id, event string, data any) {
	s.t.Helper()
	content := toJSON(s.t, data)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.streams) == 0 {
		s.t.Error("nobody listens")
	}
	text := fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", id, event, content)
	if event != "reset" {
		s.history = append(s.history, text)
	}
	for stream := range s.streams {
		stream <- text
	}
}

// cut ends all streams.
func (s *standIn) cut() {
	s.with(func() {
		for stream := range s.streams {
			close(stream)
		}
		clear(s.streams)
	})
}

func (s *standIn) subscribe(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name, DeviceClientID, Endpoint, Page, Lang string
		Keys                                       struct{ P256dh, Auth string }
	}
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		answer(w, http.StatusBadRequest, map[string]any{"status": http.StatusBadRequest})
		return
	}
	endpoint, err := url.Parse(in.Endpoint)
	if err != nil || in.Keys.P256dh == "" || in.Keys.Auth == "" {
		answer(w, http.StatusBadRequest, map[string]any{"status": http.StatusBadRequest})
		return
	}
	sub := &device{
		ID: rand.Text(), Name: in.Name, DeviceClientID: in.DeviceClientID, EndpointHost: endpoint.Hostname(), Created: time.Now(),
		Expires: time.Now().Add(time.Hour), code: rand.Text(), endpoint: in.Endpoint, auth: in.Keys.Auth, p256dh: in.Keys.P256dh,
		page: in.Page, lang: in.Lang, MaxContent: "sender",
	}
	s.mu.Lock()
	sub.Preferences = s.defaults
	s.subscriptions = append(slices.DeleteFunc(s.subscriptions, func(other *device) bool { return other.DeviceClientID == sub.DeviceClientID }), sub)
	s.mu.Unlock()
	answer(w, http.StatusCreated, sub)
	s.send(sub, map[string]string{"@type": "PushVerification", "pushSubscriptionId": sub.ID, "verificationCode": sub.code})
}

// find is the subscription that the request is about. The caller holds mu.
func (s *standIn) find(w http.ResponseWriter, r *http.Request) *device {
	for _, sub := range s.subscriptions {
		if sub.ID == r.PathValue("id") {
			return sub
		}
	}
	answer(w, http.StatusNotFound, map[string]any{"status": http.StatusNotFound})
	return nil
}

func (s *standIn) change(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Name, VerificationCode, Endpoint, Page, Lang string
		Keys                                         struct{ P256dh, Auth string }
		Preferences                                  json.RawMessage
	}
	_ = json.NewDecoder(r.Body).Decode(&in)
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.find(w, r)
	if sub == nil {
		return
	}
	if in.VerificationCode != "" && in.VerificationCode != sub.code {
		answer(w, http.StatusBadRequest, map[string]any{"status": http.StatusBadRequest})
		return
	}
	if s.refusedField != "" {
		answer(w, http.StatusBadRequest, map[string]any{"status": http.StatusBadRequest, "field": s.refusedField})
		return
	}
	if in.Preferences != nil {
		preferences, err := sub.Preferences.Merge(in.Preferences)
		if wrong, ok := errors.AsType[*subscription.FieldError](err); ok {
			answer(w, http.StatusBadRequest, map[string]any{"status": http.StatusBadRequest, "field": wrong.Field})
			return
		}
		sub.Preferences = preferences
	}
	sub.Confirmed = sub.Confirmed || in.VerificationCode != ""
	if in.Name != "" {
		sub.Name = in.Name
	}
	if in.Endpoint != "" {
		sub.endpoint, sub.p256dh, sub.auth, sub.page, sub.lang = in.Endpoint, in.Keys.P256dh, in.Keys.Auth, in.Page, in.Lang
	}
	answer(w, http.StatusOK, sub)
}

func (s *standIn) remove(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sub := s.find(w, r); sub != nil {
		s.subscriptions = slices.DeleteFunc(s.subscriptions, func(other *device) bool { return other == sub })
		w.WriteHeader(http.StatusNoContent)
	}
}

func (s *standIn) test(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	sub := s.find(w, r)
	s.mu.Unlock()
	if sub != nil {
		w.WriteHeader(http.StatusAccepted)
		s.send(sub, map[string]any{"@type": "Test", "id": sub.ID, "time": time.Now()})
	}
}

// send pushes to a subscription while the request goes on.
func (s *standIn) send(sub *device, message any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	push, payload := s.push, toJSON(s.t, message)
	s.pushing.Go(func() { push(sub, payload) })
}
