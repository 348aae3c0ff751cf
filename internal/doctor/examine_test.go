// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/dovecotpush/caddy-dovecot-push/internal/doveconf"
)

// What one part of the examination cannot find out keeps it from nothing else.
func TestExamine(t *testing.T) {
	away := errors.New("no Caddy")
	for err, want := range map[error]Status{
		doveconf.ErrNotInstalled:                       Skipped,
		fmt.Errorf("x: %w", doveconf.ErrNotPermitted):  Skipped,
		errors.New("doveconf: unknown setting: plugn"): Problem,
	} {
		p := Patient{
			Caddy:   Admin{Address: "localhost:2019", Ask: func(string, string, any) error { return away }},
			Dovecot: func(context.Context) (*doveconf.Config, error) { return nil, err },
			User:    "alice", LMTP: "127.0.0.1:1",
			Follow: func(string, string) (Following, error) { return nil, away },
		}
		findings := p.Examine(t.Context())
		got := make(map[string]Status)
		for _, f := range findings {
			got[f.Check] = f.Status
		}
		assert.Equal(t, map[string]Status{"caddy": Problem, "dovecot": want, "deliver": Skipped}, got)
	}
}
