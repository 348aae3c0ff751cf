// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// registrationStatus is nil where nobody is registered.
func (a *App) registrationStatus() *adminapi.RegistrationStatus {
	r := a.registrations.Load()
	if r == nil {
		return nil
	}
	s := r.Status()
	if a.isOver(s.Err) {
		s.Outage, s.Err = "", nil
	}
	status := &adminapi.RegistrationStatus{
		Users: string(s.Policy), Via: a.Register.Via, Up: s.Outage == "", Reason: string(s.Outage),
	}
	if s.Err != nil {
		status.Error = s.Err.Error()
	}
	if p := s.Pass; p != nil {
		status.Pass = &adminapi.RegistrationPass{
			Started: p.Started, Ended: p.Ended, Users: p.Users, Done: p.Done, States: make(map[string]int, len(p.States)),
			Registered: p.Registered, Unregistered: p.Unregistered,
		}
		for state, n := range p.States {
			status.Pass.States[string(state)] = n
		}
		if p.Err != nil {
			status.Pass.Error = p.Err.Error()
		}
	}
	return status
}

// isOver reports whether an error that kept all users from being registered is
// over: what took every endpoint of DoveAdm out of service, when one is in
// service again. Where nobody is registered without being asked, no attempt
// would say so.
func (a *App) isOver(err error) bool {
	client := a.doveadmClient()
	if err == nil || client == nil {
		return false
	}
	var outage bool
	for _, kind := range []error{
		doveadm.ErrUnavailable, doveadm.ErrUnreachable, doveadm.ErrTimeout, doveadm.ErrBroken, doveadm.ErrBadSecret, doveadm.ErrNotServed,
	} {
		outage = outage || errors.Is(err, kind)
	}
	return outage && slices.ContainsFunc(client.Endpoints(), func(e doveadm.EndpointState) bool { return e.InService })
}

func passTime(p *registration.Pass) time.Duration {
	if p.Ended.IsZero() {
		return time.Since(p.Started)
	}
	return p.Ended.Sub(p.Started)
}

// getRegistrations returns the state of one user, or, line by line, of all of
// them.
func getRegistrations(a *App, r *http.Request) (any, error) {
	if _, err := a.reconciler(r.Context()); err != nil {
		return nil, registrationError(err)
	}
	if r.URL.Query().Has("user") {
		reg, err := a.UserRegistration(r.Context(), r.URL.Query().Get("user"))
		return reg, registrationError(err)
	}
	return lines(func(line func(any) error) error {
		for reg, err := range a.Registrations(r.Context()) {
			if err == nil {
				err = line(reg)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}), nil
}

func putRegistration(a *App, r *http.Request) (any, error) {
	reconciler, err := a.reconciler(r.Context())
	if err != nil {
		return nil, registrationError(err)
	}
	reg, err := reconciler.Register(r.Context(), r.PathValue("user"), r.URL.Query().Has("takeover"))
	return newRegistration(reg), registrationError(err)
}

func deleteRegistration(a *App, r *http.Request) (any, error) {
	reconciler, err := a.reconciler(r.Context())
	if err != nil {
		return nil, registrationError(err)
	}
	reg, err := reconciler.Unregister(r.Context(), r.PathValue("user"))
	return newRegistration(reg), registrationError(err)
}

func postRegistrations(a *App, r *http.Request) (any, error) {
	reconciler, err := a.reconciler(r.Context())
	if err != nil {
		return nil, registrationError(err)
	}
	var many adminapi.RegistrationsChange
	if err := readJSON(r, &many); err != nil {
		return nil, err
	}
	if many.All == (len(many.Users) > 0) {
		return nil, badRequest("give either users or all")
	}
	if many.Action != "register" && many.Action != "unregister" {
		return nil, badRequest("action is register or unregister, not %q", many.Action)
	}
	return lines(func(line func(any) error) error {
		total := func(n int) { _ = line(adminapi.RegistrationsLine{Total: n}) }
		report := func(reg registration.Registration) {
			r := newRegistration(reg)
			_ = line(adminapi.RegistrationsLine{Registration: &r})
		}
		if many.Action == "register" {
			return reconciler.RegisterMany(r.Context(), many.Users, many.Takeover, total, report)
		}
		return reconciler.UnregisterMany(r.Context(), many.Users, total, report)
	}), nil
}

// lines is an answer of many JSON values, a line each, that is written while it
// is made. An error in the middle is its last line.
func lines(write func(line func(any) error) error) adminStream {
	return func(w http.ResponseWriter) error {
		w.Header().Set("Content-Type", "application/x-ndjson")
		enc := json.NewEncoder(w)
		control := http.NewResponseController(w)
		err := write(func(value any) error {
			if err := enc.Encode(value); err != nil {
				return err
			}
			return control.Flush()
		})
		if err != nil {
			_ = enc.Encode(adminapi.RegistrationsLine{Error: err.Error()})
		}
		return nil
	}
}

// registrationError gives an error its status.
func registrationError(err error) error {
	if err == nil {
		return nil
	}
	status := http.StatusServiceUnavailable
	switch {
	case errors.Is(err, errNoRegistration), errors.Is(err, registration.ErrName):
		status = http.StatusBadRequest
	case errors.Is(err, ErrUnknownUser):
		status = http.StatusNotFound
	case errors.Is(err, ErrConflict), errors.Is(err, registration.ErrNeedsLogin):
		status = http.StatusConflict
	case errors.Is(err, ErrNoMetadata), errors.Is(err, ErrCredentials):
		status = http.StatusBadGateway
	}
	return caddy.APIError{HTTPStatus: status, Err: err}
}
