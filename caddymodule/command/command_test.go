// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

// admin stands in for the admin API of a running Caddy.
type admin struct {
	server *httptest.Server
	asked  []string // what was, without the prefix: "GET status"
}

func newAdmin(t *testing.T, answer http.HandlerFunc) *admin {
	t.Helper()
	a := new(admin)
	a.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, found := strings.CutPrefix(r.URL.RequestURI(), adminapi.Prefix)
		assert.True(t, found, r.URL)
		a.asked = append(a.asked, r.Method+" "+path)
		answer(w, r)
	}))
	t.Cleanup(a.server.Close)
	return a
}

// refuse answers as Caddy's admin API does.
func refuse(w http.ResponseWriter, status int, why string) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": why})
}

// run runs caddy dovecot-push with the arguments.
func (a *admin) run(args ...string) (out string, err error) {
	root := &cobra.Command{Use: "dovecot-push", SilenceErrors: true, SilenceUsage: true}
	build(root)
	var buf bytes.Buffer
	root.SetOut(&buf)
	root.SetErr(&buf)
	root.SetArgs(append([]string{"--address", a.server.Listener.Addr().String()}, args...))
	err = root.ExecuteContext(context.Background())
	return buf.String(), err
}
