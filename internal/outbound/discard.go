// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package outbound

import (
	"context"
	"io"
	"net/http"
	"time"
)

// An answer is read that far, and for that long, to use its connection again;
// its status has said everything by then.
const (
	maxAnswer  = 16 << 10
	answerTime = time.Second
)

// Discard reads what there is of an answer, within bounds, so that its
// connection can serve the next request, and closes it. cancel ends the
// request.
func Discard(resp *http.Response, cancel context.CancelFunc) { Read(resp, cancel, 0) }

// Read is Discard, and returns at most the first so many bytes.
func Read(resp *http.Response, cancel context.CancelFunc, most int64) []byte {
	defer resp.Body.Close()
	if resp.ContentLength == 0 {
		return nil
	}
	defer time.AfterFunc(answerTime, cancel).Stop()
	beginning, _ := io.ReadAll(io.LimitReader(resp.Body, most))
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	return beginning
}
