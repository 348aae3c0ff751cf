// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package problem writes the error answers of the user API: problem details
// for HTTP APIs (RFC 9457).
//
// Like everything below handlers, it makes no promise of stability before v1.
package problem

import (
	"encoding/json"
	"net/http"
)

// Problem is one error answer. Nothing of a mail, no secret and no address
// of a backend belongs into it.
type Problem struct {
	// Status is the HTTP status code.
	Status int `json:"status"`
	// Title says what is wrong, the same words each time. Default: the text
	// of the status code.
	Title string `json:"title"`
	// Detail says what to do about it, for people.
	Detail string `json:"detail,omitempty"`
	// Field names the member of the request that is wrong, if it is one.
	Field string `json:"field,omitempty"`
}

// Write answers with p.
func Write(w http.ResponseWriter, p Problem) {
	if p.Title == "" {
		p.Title = http.StatusText(p.Status)
	}
	body, err := json.Marshal(p)
	if err != nil { // strings and a number
		panic(err)
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(p.Status)
	_, _ = w.Write(body)
}
