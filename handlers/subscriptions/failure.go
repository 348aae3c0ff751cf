// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscriptions

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/problem"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

var (
	errMediaType   = errors.New("the body is not application/json")
	errTooLarge    = errors.New("the body is too large")
	errUnconfirmed = errors.New("the device is not confirmed")
)

// requestError is a mistake in a request.
type requestError struct{ field, detail string }

func (e *requestError) Error() string { return e.detail }

func badRequest(field, detail string) error { return &requestError{field, detail} }

// tooManyError says that a user has caused too many messages or changes.
type tooManyError struct{ wait time.Duration }

func (e *tooManyError) Error() string { return "too many messages or changes" }

// notSentError says that a push service did not take a message.
type notSentError struct{ result delivery.Result }

func (e *notSentError) Error() string { return "not sent: " + e.result.Reason }

// fail answers with what err means.
func (h *Handler) fail(w http.ResponseWriter, err error) {
	var (
		request *requestError
		field   *subscription.FieldError
		refused *outbound.RefusedError
		many    *tooManyError
		sent    *notSentError
		p       problem.Problem
		event   = Refused
	)
	switch {
	case errors.As(err, &request):
		p = problem.Problem{Status: http.StatusBadRequest, Detail: request.detail, Field: request.field}
	case errors.As(err, &field):
		p = problem.Problem{Status: http.StatusBadRequest, Detail: field.Error(), Field: field.Field}
	case errors.As(err, &refused):
		p = problem.Problem{Status: http.StatusBadRequest, Detail: "This endpoint is not accepted: " + refused.Error() + ".", Field: "endpoint"}
	case errors.Is(err, subscription.ErrWrongCode):
		p = problem.Problem{Status: http.StatusBadRequest, Detail: "This is not the code that was sent to the device.", Field: "verificationCode"}
	case errors.Is(err, subscription.ErrNotFound):
		p = problem.Problem{Status: http.StatusNotFound, Detail: "You have no such device."}
	case errors.Is(err, subscription.ErrTooMany):
		p = problem.Problem{Status: http.StatusConflict, Detail: fmt.Sprintf("You have %d devices already: remove one first.", subscription.MaxPerUser)}
		event = Limited
	case errors.Is(err, errUnconfirmed):
		p = problem.Problem{Status: http.StatusConflict, Detail: "The device has not confirmed its subscription yet."}
	case errors.Is(err, errMediaType):
		p = problem.Problem{Status: http.StatusUnsupportedMediaType, Detail: "The body must be application/json."}
	case errors.Is(err, errTooLarge):
		p = problem.Problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("The body may have %d bytes.", maxBody)}
	case errors.As(err, &many):
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(many.wait.Seconds()))))
		p = problem.Problem{Status: http.StatusTooManyRequests, Detail: "There were too many changes or messages in a short time."}
		event = Limited
	case errors.As(err, &sent):
		if sent.hidden() {
			h.Logger.Info("a device's endpoint cannot be used", "reason", sent.result.Reason)
		}
		p = sent.problem()
		event = SendFailed
	default:
		h.unavailable(w, err)
		return
	}
	h.Observe(event)
	problem.Write(w, p)
}

// hidden reports whether the reason is not for the user: that a name does not
// exist, and that it is one of an address inside, must look the same, or anybody
// could find out the names of an internal network.
func (e *notSentError) hidden() bool {
	return e.result.Reason == "dns" || e.result.Reason == "address_refused"
}

// problem says why a device did not get a message.
func (e *notSentError) problem() problem.Problem {
	switch {
	case e.hidden():
		return problem.Problem{Status: http.StatusBadRequest, Detail: "This endpoint is not accepted: its host has no address that this server connects to.", Field: "endpoint"}
	case e.result.Outcome == delivery.Gone:
		return problem.Problem{Status: http.StatusGone, Detail: "The device has ended its subscription, which is removed."}
	default:
		return problem.Problem{
			Status: http.StatusBadGateway, Title: "The push service did not take the message",
			Detail: "The push service of the device failed or refused: " + e.result.Reason + ".",
		}
	}
}

// unavailable answers where it is not the user's fault.
func (h *Handler) unavailable(w http.ResponseWriter, err error) {
	if errors.Is(err, queue.ErrUnavailable) || errors.Is(err, queue.ErrFull) ||
		errors.Is(err, queue.ErrChanged) || errors.Is(err, queue.ErrExists) || errors.Is(err, subscription.ErrNotReady) {
		w.Header().Set("Retry-After", "5")
		problem.Write(w, problem.Problem{Status: http.StatusServiceUnavailable, Detail: "Try again in a moment."})
		return
	}
	h.Logger.Error("cannot serve a request about subscriptions", "error", err)
	problem.Write(w, problem.Problem{Status: http.StatusInternalServerError})
}
