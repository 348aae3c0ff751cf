// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What was rotated since the last configuration makes another connection, and
// nothing else does.
func TestIdentityOfNATS(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	password, token, ca := write("password", []byte("swordfish")), write("token", []byte("t0ken")), write("ca.pem", newCertificate(t))
	identity := func() string {
		t.Helper()
		q := &Queue{NATS: &NATSQueue{
			URLs: []string{"nats://n1:4222"}, Username: "caddy", Password: "{file." + password + "}", Token: "{file." + token + "}", CAFile: ca,
		}}
		require.NoError(t, q.provision())
		assert.NotContains(t, q.identity(), "swordfish")
		return q.identity()
	}
	before := identity()
	assert.Equal(t, before, identity())
	for what, change := range map[string]func(){
		"password": func() { write("password", []byte("marlin")) },
		"token":    func() { write("token", []byte("n3w")) },
		"CA":       func() { write("ca.pem", append(newCertificate(t), newCertificate(t)...)) },
	} {
		change()
		after := identity()
		assert.NotEqual(t, before, after, what)
		before = after
	}
}
