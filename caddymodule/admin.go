// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

func init() {
	caddy.RegisterModule(adminAPI{})
}

// maxAdminBody bounds the body of a request to the admin API, in bytes.
const maxAdminBody = 1 << 20

// adminAPI serves what an operator, or the command caddy dovecot-push, asks of
// the running app.
type adminAPI struct{}

// CaddyModule returns the Caddy module information.
func (adminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.dovecot_push",
		New: func() caddy.Module { return new(adminAPI) },
	}
}

// Routes implements caddy.AdminRouter.
func (adminAPI) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: adminapi.Prefix, Handler: caddy.AdminHandlerFunc(serveAdmin)}}
}

// adminHandler answers one route. The value it returns is written as JSON; nil
// is 204, and an adminStream writes itself.
type adminHandler func(a *App, r *http.Request) (any, error)

// adminStream is an answer that is written piece by piece, or with a status of
// its own.
type adminStream func(w http.ResponseWriter) error

// adminRoutes are all routes, in the patterns of http.ServeMux without
// [adminapi.Prefix]. Each feature has its handlers in a file of its own.
var adminRoutes = map[string]adminHandler{
	"GET status":       getStatus,
	"POST probe":       postProbe,
	"GET health/live":  getHealthLive,
	"GET health/ready": getHealthReady,

	"GET follow": getFollow,
	"POST test":  postTest,

	"GET dead_letters":         getDeadLetters,
	"POST dead_letters/replay": replayDeadLetters,
	"DELETE dead_letters":      deleteDeadLetters,
	"DELETE targets":           dropTarget,

	"GET catch_up":  getCatchUp,
	"POST catch_up": postCatchUp,

	"GET registrations":           getRegistrations,
	"POST registrations":          postRegistrations,
	"PUT registrations/{user}":    putRegistration,
	"DELETE registrations/{user}": deleteRegistration,

	"GET subscriptions":         getSubscriptions,
	"DELETE subscriptions/{id}": deleteSubscription,
	"GET keys":                  getKeys,
	"GET vapid":                 getVAPID,
	"POST vapid/rotate":         rotateVAPID,
}

// adminMux finds the route. It is made once, because patterns are fixed.
var adminMux = sync.OnceValue(func() *http.ServeMux {
	mux := http.NewServeMux()
	for pattern, handler := range adminRoutes {
		method, path, _ := strings.Cut(pattern, " ")
		mux.Handle(method+" "+adminapi.Prefix+path, handler)
	}
	return mux
})

// adminAnswer carries what a handler returns through http.ServeMux to Caddy.
type adminAnswer struct {
	http.ResponseWriter
	app *App
	err error
}

// Unwrap lets http.ResponseController flush.
func (a *adminAnswer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// ServeHTTP makes an http.Handler of h.
func (h adminHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	answer := w.(*adminAnswer)
	value, err := h(answer.app, r)
	if err != nil {
		answer.err = err
		return
	}
	if value == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if stream, ok := value.(adminStream); ok {
		answer.err = stream(answer.ResponseWriter)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	answer.err = json.NewEncoder(w).Encode(value)
}

func serveAdmin(w http.ResponseWriter, r *http.Request) error {
	if _, pattern := adminMux().Handler(r); pattern == "" {
		// The mux knows whether another method would do.
		adminMux().ServeHTTP(w, r)
		return nil
	}
	app, err := runningApp()
	if err != nil {
		return err
	}
	return app.serveAdmin(w, r)
}

// serveAdmin answers a request for one of the routes.
func (a *App) serveAdmin(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxAdminBody)
	answer := &adminAnswer{ResponseWriter: w, app: a}
	adminMux().ServeHTTP(answer, r)
	return apiError(answer.err)
}

// liveApps is how many apps are provisioned and not cleaned up. One that is not
// in the active configuration is being started.
var liveApps atomic.Int32

var (
	errNotConfigured = errors.New("the configuration that Caddy runs with has no dovecot_push: it is a global option of the Caddyfile")
	errStarting      = errors.New("dovecot_push is configured and not ready yet: " + adminapi.Starting)
)

// runningApp is the app of the configuration that is loaded. The admin API
// outlives configurations, so it is looked up for each request.
func runningApp() (*App, error) {
	mod, err := caddy.ActiveContext().AppIfConfigured("dovecot_push")
	if errors.Is(err, caddy.ErrNotConfigured) {
		err = errNotConfigured
		if liveApps.Load() > 0 {
			err = errStarting
		}
	}
	if err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: err}
	}
	return mod.(*App), nil
}

// apiError gives an error without a status one.
func apiError(err error) error {
	if err == nil {
		return nil
	}
	if api, ok := errors.AsType[caddy.APIError](err); ok {
		return api
	}
	return caddy.APIError{HTTPStatus: http.StatusInternalServerError, Err: err}
}

// badRequest is an error that the one who asks can mend.
func badRequest(format string, args ...any) error {
	return caddy.APIError{HTTPStatus: http.StatusBadRequest, Err: fmt.Errorf(format, args...)}
}

// readJSON reads the body of a request; an empty one leaves value as it is.
func readJSON(r *http.Request, value any) error {
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	err := dec.Decode(value)
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return badRequest("the body of the request is not the JSON that was expected: %w", err)
	}
	return nil
}

// Interface guards.
var _ caddy.AdminRouter = (*adminAPI)(nil)
