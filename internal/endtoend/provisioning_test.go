// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// The example of a module that uses the app, built and run.
func TestProvisioningExample(t *testing.T) {
	t.Parallel()
	const user = "user0@example.com"
	binary := build(t, "./examples/provisioning/caddy")
	dovecot := dovecottest.Start(t, dovecottest.Config{Users: users(1)})
	c, err := caddytestkit.Prepare(binary, t.TempDir(), "API_SECRET="+dovecot.APIKey())
	require.NoError(t, err)
	t.Cleanup(c.Kill)
	address := freeAddress(t)
	require.NoError(t, c.Run("{\nevents {\non dovecot_push.registration_failed accounts\n}\ndovecot_push {\ndoveadm "+dovecot.DoveAdmURL()+" {\napi_secret {env.API_SECRET}\n}\nregister off\n}\n}\n"+
		"http://"+address+" {\naccounts\nrespond 404\n}\n"), c.Log())
	call := func(method, login string) (int, string) {
		r, err := http.NewRequest(method, "http://"+address+"/accounts/"+login, nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		return resp.StatusCode, string(body)
	}

	status, body := call(http.MethodPut, user)
	require.Equal(t, http.StatusNoContent, status, body)
	assert.Equal(t, "user="+user+ourMark, valueIn(t, dovecot, user))
	status, body = call(http.MethodGet, user)
	require.Equal(t, http.StatusOK, status, body)
	assert.Contains(t, body, `"state":"registered"`)
	assert.Contains(t, body, `"messages":"0"`)
	status, body = call(http.MethodDelete, user)
	require.Equal(t, http.StatusNoContent, status, body)
	assert.Empty(t, valueIn(t, dovecot, user))
	status, _ = call(http.MethodPut, "nobody@example.com")
	assert.Equal(t, http.StatusNotFound, status)
	require.Eventually(t, func() bool { return strings.Contains(c.Log(), "an account was closed") }, waitTimeout, 10*time.Millisecond,
		"says its handler of events, which is called after the answer")

	// The call of the documentation, for a script.
	r, err := http.NewRequest(http.MethodPut, "http://"+c.Admin+"/dovecot_push/registrations/user0%40example.com", nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, "user="+user+ourMark, valueIn(t, dovecot, user))
}
