// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// refusal is an answer that is no success. Its problem says what is wrong and
// what to do, its field the member of the body that is to blame, if one is;
// neither holds anything that the request does.
type refusal struct {
	result     Result
	status     int
	problem    string
	field      string
	retryAfter int // seconds; 0: no word about it
	cause      error
}

var (
	refusedUnconfigured = &refusal{
		result: Unauthorized, status: http.StatusForbidden,
		problem: "nobody is allowed, because the endpoint has neither credentials nor client certificates to know its peers by",
	}
	refusedNoCertificate = &refusal{
		result: NoClientCertificate, status: http.StatusForbidden,
		problem: "a client certificate that this server can verify is needed: " +
			"set ssl_client_cert (Dovecot 2.3) or ssl_client_cert_file (2.4), and the key",
	}
	refusedMissing = &refusal{
		result: Unauthorized, status: http.StatusUnauthorized,
		problem: "credentials are needed: write them into the URL of Dovecot's driver, as in https://user:password@host/path",
	}
	refusedWrong = &refusal{
		result: Unauthorized, status: http.StatusUnauthorized,
		problem: "the user name or the password in the URL of Dovecot's driver is wrong " +
			"(there, special characters are percent-encoded, and each % is doubled before Dovecot 2.4)",
	}
	// Dovecot tries once more after the second that Retry-After says.
	refusedBusy = &refusal{
		result: Busy, status: http.StatusServiceUnavailable, retryAfter: 1,
		problem: "too many credentials are being checked: try again",
	}
	refusedMethod = &refusal{
		result: Method, status: http.StatusMethodNotAllowed,
		problem: "the method of a notification is PUT",
	}
	refusedMediaType = &refusal{
		result: MediaType, status: http.StatusUnsupportedMediaType,
		problem: "the Content-Type of a notification is application/json",
	}
	refusedTimeout = &refusal{
		result: BodyTimeout, status: http.StatusRequestTimeout,
		problem: "the body did not arrive in time",
	}
	refusedCut = &refusal{
		result: BodyCut, status: http.StatusBadRequest,
		problem: "the body ended before it was whole",
	}
)

// refuseBody sorts what a body cannot be decoded for.
func refuseBody(err error) (Result, *refusal) {
	if errors.Is(err, notification.ErrUnusedEvent) {
		return UnusedEvent, nil
	}
	answer := &refusal{result: BadJSON, status: http.StatusBadRequest, problem: "the body cannot be read"}
	var field *notification.FieldError
	var syntax *notification.SyntaxError
	switch {
	case errors.As(err, &field):
		answer.result, answer.field = BadField, field.Field
		answer.problem = field.Field + " " + field.Problem
	case errors.As(err, &syntax):
		answer.problem = fmt.Sprintf("the body is not a JSON object: at byte %d: %s", syntax.Offset, syntax.Problem)
	}
	return "", answer
}

// refuseUnstored sorts what a notification cannot be stored for. Dovecot tries
// once more after the second that Retry-After says, for net/http adds the Date
// without which it does not.
func refuseUnstored(err error) *refusal {
	answer := &refusal{result: QueueUnavailable, status: http.StatusServiceUnavailable, retryAfter: 1, cause: err}
	switch {
	case errors.Is(err, queue.ErrTooLarge):
		answer.result, answer.status, answer.retryAfter = TooLarge, http.StatusRequestEntityTooLarge, 0
		answer.problem = "the body is larger than the queue can store"
	case errors.Is(err, queue.ErrFull):
		answer.result = QueueFull
		answer.problem = "the queue is full: make the targets take what waits for them, or raise max_bytes"
	case errors.Is(err, queue.ErrDurability):
		answer.problem = "the NATS servers of the queue promise less than its option durability demands: caddy dovecot-push status says what"
	default:
		answer.problem = "the queue could not store the notification in time: try again"
	}
	return answer
}

// write answers with the refusal. What it cannot write, the peer is no longer
// there to read.
func (a *refusal) write(w http.ResponseWriter) {
	body, _ := json.Marshal(struct {
		Success bool   `json:"success"`
		Error   string `json:"error"`
		Field   string `json:"field,omitempty"`
	}{false, a.problem, a.field})
	header := w.Header()
	switch a.status {
	case http.StatusUnauthorized:
		header.Set("WWW-Authenticate", `Basic realm="dovecot_push", charset="UTF-8"`)
	case http.StatusMethodNotAllowed:
		header.Set("Allow", http.MethodPut)
	}
	if a.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(a.retryAfter))
	}
	writeJSON(w, a.status, body)
}

var (
	success = []byte(`{"success":true}`)
	// jsonType is shared by all answers: nobody changes what is in it.
	jsonType = []string{"application/json"}
)

// writeSuccess answers what Open-Xchange's endpoint does.
func writeSuccess(w http.ResponseWriter) { writeJSON(w, http.StatusOK, success) }

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	w.Header()["Content-Type"] = jsonType // net/http adds the length
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// roundUp returns whole seconds, at least one.
func roundUp(d time.Duration) int {
	return max(1, int((d+time.Second-1)/time.Second))
}
