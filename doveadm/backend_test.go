// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

const (
	alice    = "alice@example.com"
	bob      = "bob@example.com"
	carol    = "carol@example.com"
	password = "doveadm-password"
	key      = dovecottest.MetadataKey
)

// settings are those of a Dovecot that a case needs.
type settings struct {
	noAttributeDict, noIteration bool
	allowed                      string // the one command; empty: all
}

// backend starts Dovecots of one kind with the users alice, bob and carol, and
// returns URL and secret.
type backend func(t *testing.T, s settings) (url, secret string)

// eachBackend runs a test on the Dovecots that this machine can have, and on the
// one of package doveadmtest.
func eachBackend(t *testing.T, test func(t *testing.T, start backend)) {
	t.Helper()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		test(t, func(t *testing.T, s settings) (string, string) {
			server := startDovecot(t, version, s)
			return server.DoveAdmURL(), server.APIKey()
		})
	})
	t.Run("doveadmtest", func(t *testing.T) {
		test(t, func(t *testing.T, s settings) (string, string) {
			cfg := doveadmtest.Config{
				Users: []string{alice, bob, carol}, Password: password,
				NoAttributeDict: s.noAttributeDict, NoIteration: s.noIteration,
			}
			if s.allowed != "" {
				cfg.AllowedCommands = []string{s.allowed}
			}
			server := doveadmtest.Start(t, cfg)
			return server.URL(), server.APISecret()
		})
	})
}

func startDovecot(t *testing.T, version dovecottest.Version, s settings) *dovecottest.Server {
	t.Helper()
	cfg := dovecottest.Config{
		Version:         version,
		Users:           []dovecottest.User{{Name: alice}, {Name: bob}, {Name: carol}},
		NoAttributeDict: s.noAttributeDict, NoIteration: s.noIteration,
		ExtraConfig: "doveadm_password = " + password + "\n",
	}
	switch {
	case s.allowed != "" && version == dovecottest.V24:
		cfg.ExtraConfig += "doveadm_allowed_commands {\n\"" + s.allowed + "\" = yes\n}\n"
	case s.allowed != "":
		cfg.ExtraConfig += "doveadm_allowed_commands = " + s.allowed + "\n"
	}
	return dovecottest.Start(t, cfg)
}

func newClient(t *testing.T, cfg doveadm.Config) *doveadm.Client {
	t.Helper()
	c, err := doveadm.New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

func clientOf(t *testing.T, start backend, s settings) *doveadm.Client {
	t.Helper()
	url, secret := start(t, s)
	return newClient(t, doveadm.Config{Endpoints: []string{url}, APISecret: secret})
}
