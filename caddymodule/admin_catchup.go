// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/catchup"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// catchUpStatus returns the state of the catch-up.
func (a *App) catchUpStatus() *adminapi.CatchUpStatus {
	c := a.catcher.Load()
	if c == nil {
		if a.catchUpErr == nil || errors.Is(a.catchUpErr, errCatchUpNoWay) {
			return nil
		}
		return &adminapi.CatchUpStatus{Off: a.catchUpErr.Error()}
	}
	s := c.Status()
	status := &adminapi.CatchUpStatus{Leads: s.Leads, Via: a.Register.Via}
	if !s.Ended.IsZero() {
		status.Last = &s.Ended
	}
	if s.Err != nil {
		status.Error = s.Err.Error()
	}
	if s.Sweep != nil {
		sweep := newCatchUpSweep(*s.Sweep)
		status.Sweep = &sweep
	}
	return status
}

func newCatchUpSweep(p catchup.Progress) adminapi.CatchUpSweep {
	s := adminapi.CatchUpSweep{
		Trigger: string(p.Trigger), Started: p.Started, Ended: p.Ended, Users: p.Users, Done: p.Done, Behind: p.Behind,
		Waiting: p.Waiting, Failed: p.Failed, Found: p.Found, LeftOut: make(map[string]int, len(p.LeftOut)), Oldest: p.Oldest, Error: p.Error,
	}
	for reason, n := range p.LeftOut {
		s.LeftOut[string(reason)] = n
	}
	return s
}

// getCatchUp returns the state of one user.
func getCatchUp(a *App, r *http.Request) (any, error) {
	catcher, err := a.catchUp(r.Context())
	if err != nil {
		return nil, catchUpError(err)
	}
	reconciler, err := a.reconciler(r.Context())
	if err != nil {
		return nil, catchUpError(err)
	}
	reg, err := reconciler.Registration(r.Context(), r.URL.Query().Get("user"))
	if err != nil {
		return nil, registrationError(err)
	}
	s, err := catcher.User(r.Context(), reconciler.Notified(reg.User))
	if err != nil {
		return nil, registrationError(err)
	}
	user := adminapi.CatchUpUser{User: reg.User, Missing: s.Missing}
	if !s.Reported.IsZero() {
		user.Reported = &s.Reported
	}
	if !s.Found.IsZero() {
		user.Found = &s.Found
	}
	return user, nil
}

// postCatchUp sweeps, and answers line by line how far it is.
func postCatchUp(a *App, r *http.Request) (any, error) {
	catcher, err := a.catchUp(r.Context())
	if err != nil {
		return nil, catchUpError(err)
	}
	var asked adminapi.CatchUpRequest
	if err := readJSON(r, &asked); err != nil {
		return nil, err
	}
	if asked.All == (len(asked.Users) > 0) {
		return nil, badRequest("give either users or all")
	}
	reconciler, err := a.reconciler(r.Context())
	if err != nil {
		return nil, catchUpError(err)
	}
	for i, login := range asked.Users {
		reg, err := reconciler.Registration(r.Context(), login)
		if err != nil {
			return nil, registrationError(err)
		}
		asked.Users[i] = reg.User
	}
	return lines(func(line func(any) error) error {
		p, err := catcher.Sweep(r.Context(), asked.Users, func(p catchup.Progress) { _ = line(newCatchUpSweep(p)) })
		if err != nil {
			return err
		}
		return line(newCatchUpSweep(p))
	}), nil
}

// catchUpError gives an error its status.
func catchUpError(err error) error {
	status := http.StatusServiceUnavailable
	if errors.Is(err, errCatchUpOff) || errors.Is(err, errCatchUpNoWay) || errors.Is(err, errCatchUpNeedsIn) ||
		errors.Is(err, errNoRegistration) || errors.Is(err, registration.ErrName) {
		status = http.StatusBadRequest
	}
	return caddy.APIError{HTTPStatus: status, Err: err}
}
