// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package problem_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/problem"
)

func TestWrite(t *testing.T) {
	w := httptest.NewRecorder()
	problem.Write(w, problem.Problem{Status: http.StatusBadRequest, Detail: "give the device a name", Field: "name"})
	require.Equal(t, http.StatusBadRequest, w.Code)
	require.Equal(t, "application/problem+json", w.Header().Get("Content-Type"))
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	require.JSONEq(t, `{"status":400,"title":"Bad Request","detail":"give the device a name","field":"name"}`, w.Body.String())
}
