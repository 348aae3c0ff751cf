// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// isJSON reports whether the media type is application/json, with whatever
// parameters (Dovecot sends a charset, which RFC 8259 does not know).
func isJSON(contentType string) bool {
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "application/json")
}

// readBody reads the body into a new slice. Dovecot sends its length.
func readBody(r *http.Request, limit int64) ([]byte, *refusal) {
	var (
		body []byte
		err  error
	)
	switch {
	case r.ContentLength > limit:
		return nil, refuseSize(limit)
	case r.ContentLength >= 0:
		body = make([]byte, r.ContentLength)
		_, err = io.ReadFull(r.Body, body)
	default:
		body, err = io.ReadAll(io.LimitReader(r.Body, limit+1))
		if int64(len(body)) > limit {
			return nil, refuseSize(limit)
		}
	}
	var tooLarge *http.MaxBytesError // a limit that was set in front of us
	switch {
	case err == nil:
		return body, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refusedTimeout
	case errors.As(err, &tooLarge):
		return nil, refuseSize(tooLarge.Limit)
	default:
		return nil, refusedCut
	}
}

func refuseSize(limit int64) *refusal {
	return &refusal{
		result: TooLarge, status: http.StatusRequestEntityTooLarge,
		problem: fmt.Sprintf("the body is larger than %d bytes, the most that is taken", limit),
	}
}
