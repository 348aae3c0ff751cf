// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package subscriptions is the part of the user API in which people manage
// their devices.
//
// It serves requests of users who are signed in (see package signin), at these
// paths below that of the API:
//
//	GET    /subscriptions            all devices of the user
//	POST   /subscriptions            a new one: the W3C's PushSubscriptionJSON, or the token of an app
//	GET    /subscriptions/{id}
//	PATCH  /subscriptions/{id}       its name, preferences, the code it received, or its new address
//	DELETE /subscriptions/{id}
//	POST   /subscriptions/{id}/test  sends it a message
//
// Answers are JSON; errors are problem details (RFC 9457).
//
// Like everything below handlers, it makes no promise of stability before v1.
package subscriptions

import (
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/problem"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
	"github.com/dovecotpush/caddy-dovecot-push/internal/throttle"
)

// sends limits how often a user may have something sent, so that the server
// cannot be used against others.
var sends = throttle.Limit{Burst: 20, Interval: 6 * time.Second, Keys: 4096}

// edits limits how often a user may change a device without having something
// sent. Each change is a durable write.
var edits = throttle.Limit{Burst: 30, Interval: 6 * time.Second, Keys: 4096}

// sendTimeout bounds how long a request waits for a push service.
const sendTimeout = 15 * time.Second

// Event is what happened; it is a metric label.
type Event string

// The events.
const (
	Added      Event = "added"
	Renewed    Event = "renewed"
	Confirmed  Event = "confirmed"
	Renamed    Event = "renamed"
	Preferred  Event = "preferred"
	Removed    Event = "removed"
	Tested     Event = "tested"
	Refused    Event = "refused"     // part of the request is invalid
	Limited    Event = "limited"     // too many devices, or too many messages
	SendFailed Event = "send_failed" // the push service did not take a message
)

// Config of a handler.
type Config struct {
	Store *subscription.Store
	// Senders send verification codes and test messages, one for each kind of
	// devices.
	Senders []device.Sender
	// Logger gets what an operator should know. Required.
	Logger *slog.Logger
	// Observe, if set, is called with every event.
	Observe func(Event)
}

// Handler serves the API.
type Handler struct {
	Config

	mux          *http.ServeMux
	sends, edits *throttle.Throttle[string]
}

// New returns a handler.
func New(cfg Config) *Handler {
	if cfg.Observe == nil {
		cfg.Observe = func(Event) {}
	}
	h := &Handler{Config: cfg, mux: http.NewServeMux(), sends: throttle.New[string](sends), edits: throttle.New[string](edits)}
	h.mux.Handle("/subscriptions", h.methods(map[string]action{
		http.MethodGet: h.list, http.MethodPost: h.add,
	}))
	h.mux.Handle("/subscriptions/{id}", h.methods(map[string]action{
		http.MethodGet: h.show, http.MethodPatch: h.change, http.MethodDelete: h.remove,
	}))
	h.mux.Handle("/subscriptions/{id}/test", h.methods(map[string]action{http.MethodPost: h.test}))
	h.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, problem.Problem{Status: http.StatusNotFound})
	})
	return h
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.mux.ServeHTTP(w, r) }

// action serves a request of a signed-in user. The error is the answer.
type action func(w http.ResponseWriter, r *http.Request, user string) error

// methods serves the actions of one path.
func (h *Handler) methods(actions map[string]action) http.Handler {
	var allowed []string
	for method := range actions {
		allowed = append(allowed, method)
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		act := actions[r.Method]
		if act == nil {
			w.Header().Set("Allow", allow)
			problem.Write(w, problem.Problem{Status: http.StatusMethodNotAllowed})
			return
		}
		user, ok := signin.User(r.Context())
		if !ok {
			problem.Write(w, problem.Problem{Status: http.StatusUnauthorized, Detail: "Sign in first."})
			return
		}
		if err := act(w, r, user); err != nil {
			h.fail(w, err)
		}
	})
}

func (h *Handler) list(w http.ResponseWriter, _ *http.Request, user string) error {
	devices, err := h.Store.List(user)
	if err != nil {
		return err
	}
	views := make([]view, len(devices))
	for i := range devices {
		views[i] = h.view(&devices[i])
	}
	answer(w, http.StatusOK, struct {
		Subscriptions []view `json:"subscriptions"`
		// Defaults are the preferences of a new device.
		Defaults subscription.Preferences `json:"defaults"`
	}{views, h.Store.Defaults()})
	return nil
}

func (h *Handler) show(w http.ResponseWriter, r *http.Request, user string) error {
	devices, err := h.Store.List(user)
	if err != nil {
		return err
	}
	for i := range devices {
		if devices[i].ID == r.PathValue("id") {
			answer(w, http.StatusOK, h.view(&devices[i]))
			return nil
		}
	}
	return subscription.ErrNotFound
}

func (h *Handler) add(w http.ResponseWriter, r *http.Request, user string) error {
	var body addition
	if err := read(w, r, &body); err != nil {
		return err
	}
	to, err := h.address(r, body.Kind, &body.addressBody)
	if err != nil {
		return err
	}
	if err := h.mayHaveSent(user); err != nil {
		return err
	}
	device, created, err := h.Store.Add(r.Context(), user, subscription.Device{
		Kind: body.Kind, Name: body.Name, DeviceClientID: body.DeviceClientID, Address: to,
		Prefer: h.prefer(body.Kind, body.Preferences),
	})
	if err != nil {
		return err
	}
	if device, err = h.askForCode(r.Context(), user, device); err != nil {
		return err
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		w.Header().Set("Location", "subscriptions/"+device.ID)
		h.Observe(Added)
	} else {
		h.Observe(Renewed)
	}
	answer(w, status, h.view(&device))
	return nil
}

func (h *Handler) remove(w http.ResponseWriter, r *http.Request, user string) error {
	if err := h.Store.Remove(r.Context(), user, r.PathValue("id")); err != nil {
		return err
	}
	h.Observe(Removed)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// address checks the address of a device of a kind.
func (h *Handler) address(r *http.Request, kind subscription.Kind, body *addressBody) (subscription.Address, error) {
	sender := h.sender(kind)
	if sender == nil {
		return subscription.Address{}, &subscription.FieldError{Field: "kind", Problem: "is none that this server delivers to"}
	}
	a := subscription.Address{
		Endpoint: body.Endpoint, Token: body.Token, App: body.App, Environment: body.Environment, Keys: body.Keys,
		Page: body.Page, Lang: body.Lang,
	}
	if err := sender.CheckAddress(r.Context(), &a); err != nil {
		return a, err
	}
	// A notification never leads to another site than the one that was used.
	if origin := r.Header.Get("Origin"); a.Page != "" && origin != "" && !strings.HasPrefix(a.Page, origin+"/") {
		return a, &subscription.FieldError{Field: "page", Problem: "must be at the origin of the request"}
	}
	var err error
	a.PushServiceExpiry, err = body.pushServiceExpiry(time.Now())
	return a, err
}

// sender is what sends to devices of a kind; nil if nothing does.
func (h *Handler) sender(kind subscription.Kind) device.Sender {
	device := subscription.Subscription{Kind: kind}
	for _, s := range h.Senders {
		if device.Is(s.Kind()) {
			return s
		}
	}
	return nil
}

// mayChange counts a change.
func (h *Handler) mayChange(user string) error {
	if wait := h.edits.Count(user); wait > 0 {
		return &tooManyError{wait}
	}
	return nil
}

// mayHaveSent counts a message that a user causes.
func (h *Handler) mayHaveSent(user string) error {
	if wait := h.sends.Count(user); wait > 0 {
		return &tooManyError{wait}
	}
	return nil
}
