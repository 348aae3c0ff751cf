// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package api combines everything that users and their programs use: sign-in,
// devices, event streams, and the page.
//
// It routes requests to their handlers, and does what is common to all of them:
// it serves the description (openapi.yaml), bounds requests, and refuses those
// that another site made a browser send.
//
// Like everything below handlers, it makes no promise of stability before v1.
package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"mime"
	"net/http"
	"path"
	"strings"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/problem"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
)

// maxBody bounds the body of any request, in bytes.
const maxBody = 64 << 10

// Description is the API in the words of OpenAPI 3.0.
//
//go:embed openapi.yaml
var Description []byte

// Config is what an API is made of.
type Config struct {
	// Login is how people sign in: "imap", or "caddy" where something before
	// the API does that.
	Login string
	// WebmailURL is where mail can be read; empty if nobody said.
	WebmailURL string
	// MailURL is where a mail can be read, with the placeholders {user}, {folder}
	// and {uid}; empty if nobody said.
	MailURL string
	// Kinds are the kinds of devices that can be added, such as webpush.
	Kinds []string
	// ApplicationServerKey returns the newest VAPID key, for browsers that
	// subscribe. It is nil where there is no Web Push.
	ApplicationServerKey func(context.Context) (string, error)

	// Authenticator finds out who is asking.
	Authenticator *signin.Authenticator
	// Subscriptions serves /subscriptions and what is below it. It is nil
	// where no devices can be added.
	Subscriptions http.Handler
	// Actions serves /actions, without sign-in. It is nil where notifications offer
	// none.
	Actions http.Handler
	// Events serves /events.
	Events http.Handler
	// Page serves everything that is not below /api.
	Page http.Handler
}

// Handler serves an API. See [New].
type Handler struct {
	cfg                                    Config
	session, subscriptions, events, config http.Handler
	actions                                http.Handler
	crossOrigin                            *http.CrossOriginProtection
}

// New returns the handler. The paths of its requests begin behind that of the
// API: "/" is the page, "/api/config" the configuration.
func New(cfg Config) *Handler {
	h := &Handler{
		cfg:         cfg,
		crossOrigin: http.NewCrossOriginProtection(),
		session:     cfg.Authenticator.Session(),
		events:      only(cfg.Authenticator.Require(cfg.Events), http.MethodGet),
	}
	h.config = only(http.HandlerFunc(h.serveConfig), http.MethodGet)
	if cfg.Subscriptions != nil {
		h.subscriptions = cfg.Authenticator.Require(http.StripPrefix(prefix, cfg.Subscriptions))
	}
	if cfg.Actions != nil {
		h.actions = only(cfg.Actions, http.MethodPost)
	}
	return h
}

const prefix = "/api"

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rest, ok := strings.CutPrefix(r.URL.Path, prefix)
	if !ok || rest != "" && rest[0] != '/' {
		h.cfg.Page.ServeHTTP(w, r)
		return
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	if h.refuse(w, r) {
		return
	}
	h.route(rest).ServeHTTP(w, r)
}

// route finds who serves a path. There is one spelling of each.
func (h *Handler) route(rest string) http.Handler {
	switch {
	case rest == "/config":
		return h.config
	case rest == "/session":
		return h.session
	case rest == "/events":
		return h.events
	case rest == "/actions" && h.actions != nil:
		return h.actions
	case rest == "/openapi.yaml":
		return description
	case h.subscriptions != nil && path.Clean(rest) == rest &&
		(rest == "/subscriptions" || strings.HasPrefix(rest, "/subscriptions/")):
		return h.subscriptions
	default:
		return nothing
	}
}

var (
	nothing = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, problem.Problem{Status: http.StatusNotFound})
	})
	description = only(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/yaml")
		w.Header().Set("Cache-Control", "no-cache")
		_, _ = w.Write(Description)
	}), http.MethodGet)
)

// only lets requests with one method pass.
func only(h http.Handler, method string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (r.Method != http.MethodHead || method != http.MethodGet) {
			w.Header().Set("Allow", method)
			problem.Write(w, problem.Problem{Status: http.StatusMethodNotAllowed})
			return
		}
		h.ServeHTTP(w, r)
	})
}

// refuse answers requests that another site makes a browser send, and ones
// with a body that nobody wants.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request) bool {
	if err := h.crossOrigin.Check(r); err != nil {
		problem.Write(w, problem.Problem{Status: http.StatusForbidden, Detail: "Another site sent this request; that is not allowed."})
		return true
	}
	if r.ContentLength == 0 || r.Method == http.MethodGet || r.Method == http.MethodHead {
		return false
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil || media != "application/json":
		// Forms of other sites can send everything but this.
		problem.Write(w, problem.Problem{Status: http.StatusUnsupportedMediaType, Detail: "The body must be application/json."})
		return true
	case r.ContentLength > maxBody:
		problem.Write(w, problem.Problem{Status: http.StatusRequestEntityTooLarge})
		return true
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	return false
}

// configuration is what a page has to know before somebody signs in.
type configuration struct {
	Login                string   `json:"login"`
	Kinds                []string `json:"kinds"`
	ApplicationServerKey *string  `json:"applicationServerKey"`
	WebmailURL           *string  `json:"webmailURL"`
	MailURL              *string  `json:"mailURL"`
}

func (h *Handler) serveConfig(w http.ResponseWriter, r *http.Request) {
	c := configuration{Login: h.cfg.Login, Kinds: append([]string{}, h.cfg.Kinds...)} // not null
	if h.cfg.WebmailURL != "" {
		c.WebmailURL = &h.cfg.WebmailURL
	}
	if h.cfg.MailURL != "" {
		c.MailURL = &h.cfg.MailURL
	}
	if h.cfg.ApplicationServerKey != nil {
		key, err := h.cfg.ApplicationServerKey(r.Context())
		if err != nil {
			w.Header().Set("Retry-After", "5")
			problem.Write(w, problem.Problem{Status: http.StatusServiceUnavailable, Detail: "Try again in a moment."})
			return
		}
		c.ApplicationServerKey = &key
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(c)
}
