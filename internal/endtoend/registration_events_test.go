// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	tokens "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// accountant is an event handler as another module would bring it along: it
// hears of registrations, and asks back.
type accountant struct{}

var heard struct {
	sync.Mutex
	events []string
}

func (accountant) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.accountant", New: func() caddy.Module { return new(accountant) }}
}

func (*accountant) UnmarshalCaddyfile(*tokens.Dispenser) error { return nil }

func (*accountant) Handle(ctx context.Context, e caddy.Event) error {
	app, err := caddy.ActiveContext().AppIfConfigured("dovecot_push")
	if err != nil {
		return err
	}
	user := fmt.Sprint(e.Data["user"])
	asked := caddymodule.Registration{State: "all"}
	if user != "" {
		if asked, err = app.(caddymodule.Provisioning).UserRegistration(ctx, user); err != nil {
			return err
		}
	}
	heard.Lock()
	defer heard.Unlock()
	heard.events = append(heard.events, fmt.Sprintf("%s %s: %v %v, is %s", e.Name(), user, e.Data["state"], e.Data["reason"], asked.State))
	return nil
}

// hear returns what was heard since the last time.
func hear() []string {
	heard.Lock()
	defer heard.Unlock()
	events := heard.events
	heard.events = nil
	return events
}

var _ caddyevents.Handler = (*accountant)(nil)

// Caddy's event handlers are notified of changes of users in a real Dovecot.
func TestRegistrationEvents(t *testing.T) {
	const alice, bob, nobody = "user0@example.com", "user1@example.com", "nobody@example.com"
	caddy.RegisterModule(accountant{})
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		hear()
		dovecot := dovecottest.Start(t, dovecottest.Config{Version: version, Users: users(2)})
		require.NoError(t, dovecot.RegisterValue(bob, "user=17@4"))
		t.Setenv("XDG_DATA_HOME", t.TempDir())
		t.Setenv("XDG_CONFIG_HOME", t.TempDir())
		t.Setenv("API_SECRET", dovecot.APIKey())
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\nadmin off\npersist_config off\n"+
			"events {\non dovecot_push.registered accountant\non dovecot_push.unregistered accountant\non dovecot_push.registration_failed accountant\n}\n"+
			"dovecot_push {\ndoveadm "+dovecot.DoveAdmURL()+" {\napi_secret {env.API_SECRET}\n}\nregister off\n}\n}\n"), nil)
		require.NoError(t, err)
		require.NoError(t, caddy.Load(adapted, true))
		defer func() { assert.NoError(t, caddy.Stop()) }()
		found, err := caddy.ActiveContext().AppIfConfigured("dovecot_push")
		require.NoError(t, err)
		app := found.(caddymodule.Provisioning)

		require.NoError(t, app.RegisterUser(t.Context(), alice))
		assert.Equal(t, []string{"dovecot_push.registered " + alice + ": <nil> <nil>, is registered"}, hear())
		require.NoError(t, app.RegisterUser(t.Context(), alice))
		assert.Empty(t, hear(), "nothing has changed")
		require.NoError(t, app.UnregisterUser(t.Context(), alice))
		assert.Equal(t, []string{"dovecot_push.unregistered " + alice + ": <nil> <nil>, is unregistered"}, hear())
		require.ErrorIs(t, app.RegisterUser(t.Context(), nobody), caddymodule.ErrUnknownUser)
		assert.Equal(t, []string{"dovecot_push.registration_failed " + nobody + ": unknown_user unknown_user, is unknown_user"}, hear())
		require.ErrorIs(t, app.RegisterUser(t.Context(), bob), caddymodule.ErrConflict)
		assert.Equal(t, []string{"dovecot_push.registration_failed " + bob + ": conflict foreign_value, is conflict"}, hear())

		// What concerns everybody has no user.
		require.NoError(t, dovecot.Stop())
		var events []string
		for range 5 {
			require.Error(t, app.RegisterUser(t.Context(), alice))
			events = append(events, hear()...)
		}
		assert.Equal(t, []string{
			"dovecot_push.registration_failed " + alice + ": failed temporary, is failed",
			"dovecot_push.registration_failed : failed temporary, is all",
		}, events)
	})
}
