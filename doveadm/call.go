// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// maskTimeout bounds a call that visits all users, where its context does not.
const maskTimeout = 10 * time.Minute

// command is one call.
type command struct {
	name       string
	parameters map[string]any
	// idempotent tells that executing it twice is as good as once.
	idempotent bool
	// visitsAll tells that it takes as long as there are users.
	visitsAll bool
	// limit is how long the answer may be; zero is maxAnswer.
	limit int64
}

// call executes a command and returns its results. It goes from endpoint to
// endpoint until one answers, as long as that is safe.
func (c *Client) call(ctx context.Context, cmd command) (json.RawMessage, error) {
	body, err := encode(cmd.name, cmd.parameters)
	if err != nil {
		return nil, &Error{Command: cmd.name, Err: err}
	}
	var last error
	for tried := []*endpoint(nil); ; {
		e, err := c.pool.acquire(ctx, tried)
		if err != nil {
			if last != nil {
				err = fmt.Errorf("%w, after %w", err, last)
			}
			return nil, &Error{Command: cmd.name, Err: err}
		}
		if e == nil {
			return nil, c.noneLeft(last)
		}
		results, err := c.request(ctx, e, cmd, body)
		if err == nil {
			return results, nil
		}
		last = &Error{Command: cmd.name, Endpoint: e.address, Err: err}
		if ctx.Err() != nil || !cmd.mayMoveOn(err) {
			return nil, last
		}
		tried = append(tried, e)
	}
}

// mayMoveOn reports whether a command that failed may go to another endpoint. One
// that Dovecot has answered may not, it would get the same answer.
func (cmd *command) mayMoveOn(err error) bool {
	switch {
	case isAny(err, ErrUnreachable, ErrBadSecret, ErrNotServed):
		return true // nothing was executed
	case isAny(err, ErrTimeout):
		return cmd.idempotent && !cmd.visitsAll
	case isAny(err, ErrBroken, ErrNoAnswer, ErrServer, ErrUnexpected):
		return cmd.idempotent
	}
	return false
}

// noneLeft is the error of a call for which no endpoint is left: either none is
// in service, or those that are have failed it.
func (c *Client) noneLeft(last error) error {
	states := c.pool.states()
	for _, state := range states {
		if state.InService && last != nil {
			return last
		}
	}
	return &UnavailableError{Endpoints: states}
}

// request sends a command to an endpoint.
func (c *Client) request(ctx context.Context, e *endpoint, cmd command, body []byte) (json.RawMessage, error) {
	b := bounds{read: c.cfg.ReadTimeout, answer: maxAnswer}
	if cmd.visitsAll {
		b.read = max(b.read, maskTimeout)
	}
	if cmd.limit > 0 {
		b.answer = cmd.limit
	}
	began := time.Now()
	status, answer, err := c.exchange(ctx, e, http.MethodPost, body, b)
	if err == nil {
		err = statusError(status, answer)
	}
	var results json.RawMessage
	if err == nil {
		results, err = decode(answer)
	}
	if cmd.name == listUsers && errors.Is(err, ErrNoMetadata) {
		err = fmt.Errorf("exit code %d: %w", exitData, ErrNoIteration)
	}
	if !cmd.visitsAll || !errors.Is(err, ErrTimeout) { // there may just be many users
		c.judge(e, err)
	}
	c.pool.release(e)
	c.cfg.Observe(RequestInfo{Endpoint: e.address, Outcome: outcome(err), Took: time.Since(began)})
	return results, err
}

// unmarshal reads the results of a command.
func unmarshal(name string, results json.RawMessage, to any) error {
	if err := json.Unmarshal(results, to); err != nil {
		return &Error{Command: name, Err: fmt.Errorf("%w: %w", err, ErrUnexpected)}
	}
	return nil
}
