// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"context"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	tokens "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule"
)

// pigeon is a target as another module would bring it along: it uses what the
// package caddymodule exports.
type pigeon struct {
	Name string `json:"name"`
}

var landed = make(chan string, 1)

func (pigeon) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "dovecot_push.targets.pigeon", New: func() caddy.Module { return new(pigeon) }}
}

func (p *pigeon) UnmarshalCaddyfile(d *tokens.Dispenser) error {
	d.Next()
	if !d.AllArgs(&p.Name) {
		return d.ArgErr()
	}
	return nil
}

func (p *pigeon) Lane() caddymodule.Lane { return caddymodule.Lane{Name: p.Name, Deliverer: p} }

func (p *pigeon) Deliver(_ context.Context, r *caddymodule.Record) caddymodule.Result {
	landed <- string(r.Body)
	return caddymodule.Result{Outcome: caddymodule.Delivered}
}

var (
	_ caddymodule.Target    = (*pigeon)(nil)
	_ caddymodule.Deliverer = (*pigeon)(nil)
)

// Targets of other modules are found by their names.
func TestTargetOfAnotherModule(t *testing.T) {
	caddy.RegisterModule(pigeon{})
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("NOTIFY_PASSWORD", notifyPassword)
	address := freeAddress(t)
	config := func(kind string) ([]byte, error) {
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\nadmin off\npersist_config off\ndovecot_push {\ndeliver "+kind+" loft\n}\n}\n"+
			"http://"+address+" {\ndovecot_push_notify {\nallow private_ranges\ncredentials "+notifyUser+" {env.NOTIFY_PASSWORD}\n}\n}\n"), nil)
		return adapted, err
	}
	_, err := config("pidgin")
	require.ErrorContains(t, err, `there is no target "pidgin"; there are: middleware, pigeon, webhook, webpush`)
	adapted, err := config("pigeon")
	require.NoError(t, err)
	require.NoError(t, caddy.Load(adapted, true))
	defer func() { assert.NoError(t, caddy.Stop()) }()
	status, answer, err := put(http.DefaultClient, address, notification(7))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, answer)
	assert.Equal(t, notification(7), <-landed)
}
