// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// maxFollowTime is how long a notification is followed at most.
const maxFollowTime = 10 * time.Minute

// getFollow streams the steps of the notifications of users, or of the mail with
// a subject, whatever name it is reported by, one JSON object a line:
// GET follow?user=<login>&subject=<subject>&time=30s. The first line says that
// nothing is missed from now on.
func getFollow(a *App, r *http.Request) (any, error) {
	query := r.URL.Query()
	users, subject := query["user"], query.Get("subject")
	if len(users) == 0 && subject == "" {
		return nil, badRequest("say whose notifications to follow: ?user=<login>")
	}
	for i, login := range users {
		user, err := a.names.Canonical(r.Context(), login)
		if err != nil {
			return nil, badRequest("say whose notifications to follow, ?user=<login>: %w", err)
		}
		users[i] = user
	}
	wait := adminapi.FollowTime
	if s := r.FormValue("time"); s != "" {
		d, err := caddy.ParseDuration(s)
		if err != nil || d <= 0 || d > maxFollowTime {
			return nil, badRequest("time must be a duration of at most %s", maxFollowTime)
		}
		wait = d
	}
	return adminStream(func(w http.ResponseWriter) error {
		steps, stop := a.traces.start(users, subject)
		defer stop()
		ctx, cancel := context.WithTimeout(r.Context(), wait)
		defer cancel()
		return a.writeSteps(ctx, w, steps)
	}), nil
}

func (a *App) writeSteps(ctx context.Context, w http.ResponseWriter, steps <-chan adminapi.Step) error {
	flush := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	for step := (adminapi.Step{What: "following", Time: time.Now(), Targets: a.targetNames()}); ; {
		if err := enc.Encode(step); err != nil {
			return err
		}
		if err := flush.Flush(); err != nil {
			return err
		}
		select {
		case step = <-steps:
		case <-ctx.Done():
			return nil
		case <-a.events.ctx.Done(): // what happens from now on happens elsewhere
			return enc.Encode(adminapi.Step{What: "reloaded", Time: time.Now()})
		}
	}
}

// postTest takes a made-up notification in, as if Dovecot had sent it, and
// answers with its identity: POST test {"user": "<login>"}.
func postTest(a *App, r *http.Request) (any, error) {
	var ask struct {
		User string `json:"user"`
	}
	if err := readJSON(r, &ask); err != nil {
		return nil, err
	}
	user, err := a.names.Canonical(r.Context(), ask.User)
	if err != nil {
		return nil, badRequest("user: %w", err)
	}
	body, err := json.Marshal(map[string]any{
		"user": user, "event": notification.MessageNew, "folder": "INBOX", "imap-uidvalidity": 0, "imap-uid": 0,
		"from": "Caddy <caddy@localhost>", "subject": "Test notification", "snippet": "This is a test: there is no such mail.",
	})
	if err != nil {
		return nil, err
	}
	n, err := target.Decoder.Decode(body)
	if err != nil {
		return nil, badRequest("user: %w", err)
	}
	if err := a.knows(r.Context(), n.User); err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusNotFound, Err: err}
	}
	now := time.Now()
	id, window := n.Identity(body, now.String())
	if _, err := a.accept(r.Context(), queue.Record{ID: id, Accepted: now, Body: body}, window); err != nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: fmt.Errorf("storing it: %w", err)}
	}
	return map[string]string{"id": id.String()}, nil
}

// knowsTimeout bounds the question whether Dovecot knows a user.
const knowsTimeout = 5 * time.Second

// knows is an error for a user whom Dovecot certainly does not know. Where it
// cannot be asked about the name that it reports, everybody may be known.
func (a *App) knows(ctx context.Context, user string) error {
	r := a.registrations.Load()
	if r == nil || !a.Register.template.IsLogin() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, knowsTimeout)
	defer cancel()
	if _, _, err := r.Value(ctx, user); errors.Is(err, ErrUnknownUser) {
		return fmt.Errorf("%w: nothing was sent", err)
	}
	return nil
}
