// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// parseApp reads the global option. Syntax:
//
//	dovecot_push {
//	    queue embedded {
//	        path      <dir>
//	        sync      always|<duration>
//	        max_age   <duration>
//	        max_bytes <size>
//	    }
//	    queue nats <urls...> {
//	        credentials      <user> <password>
//	        credentials_file <path>
//	        token            <token>
//	        ca_file          <pem>
//	        client_cert      <pem> <key>
//	        replicas         <n>
//	        durability       disk|replicas|any
//	        sync_interval    always|<duration>
//	        monitoring       <urls...>
//	        prefix           <name>
//	        max_age          <duration>
//	        max_bytes        <size>
//	    }
//	    doveadm <urls...> { ... }
//	    imap <url> { ... }                       # see parseIMAP
//	    register on_subscribe|all|off { ... }    # see parseRegister
//	    catch_up { ... }                         # see parseCatchUp
//	    device_defaults { ... }                  # see parseDeviceDefaults
//	    actions <read|archive|trash...> { ... }  # see parseActions
//	    deliver middleware [<name>] {
//	        path          <path>
//	        credentials   <user> <password>
//	        reverse_proxy <upstreams...> { ... }
//	    }
//	    deliver webhook <name> <url> {
//	        # see the type Webhook
//	    }
//	    deliver apns { ... }                     # see the package apns
//	    deliver fcm { ... }                      # see the package fcm
//	    deliver webpush {
//	        contact         <mailto:address|https-url>
//	        content         thin|sender|full
//	        ttl             <duration>
//	        allow_endpoints <networks, hosts or URLs...>
//	    }
//	}
//
// There is one queue, and there may be several targets.
func parseApp(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next()
	if existing != nil {
		return nil, d.Err("dovecot_push is configured twice; put both into one block")
	}
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	app := new(App)
	err := option.Block(d, "dovecot_push",
		option.Option{Name: "queue", Parse: func(d *caddyfile.Dispenser) (err error) {
			app.Queue, err = parseQueue(d)
			return err
		}},
		option.Option{Name: "doveadm", Parse: func(d *caddyfile.Dispenser) (err error) {
			app.DoveAdm, err = parseDoveAdm(d)
			return err
		}},
		option.Option{Name: "imap", Parse: func(d *caddyfile.Dispenser) (err error) {
			app.IMAP, err = parseIMAP(d)
			return err
		}},
		option.Option{Name: "register", Parse: func(d *caddyfile.Dispenser) (err error) {
			app.Register, err = parseRegister(d)
			return err
		}},
		option.Option{Name: "catch_up", Parse: func(d *caddyfile.Dispenser) (err error) {
			app.CatchUp, err = parseCatchUp(d)
			return err
		}},
		option.Option{Name: "device_defaults", Parse: func(d *caddyfile.Dispenser) (err error) {
			app.DeviceDefaults, err = parseDeviceDefaults(d)
			return err
		}},
		option.Option{Name: "actions", Parse: func(d *caddyfile.Dispenser) (err error) {
			app.Actions, err = parseActions(d)
			return err
		}},
		option.Option{Name: "deliver", Repeat: true, Parse: func(d *caddyfile.Dispenser) error {
			return parseTarget(d, app)
		}},
	)
	if err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "dovecot_push", Value: caddyconfig.JSON(app, nil)}, nil
}
