// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package owntarget

import (
	"context"
	"net/url"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
)

func init() { caddy.RegisterModule(new(Lamp)) }

// Lamp lights lamps when mail comes: devices of their own kind. Users add their lamps by
// the JSON API, as {"kind": "lamp", "name": "Desk", "endpoint": "<URL of the lamp>"}.
type Lamp struct {
	// The host that all lamps are at: users must not make this server send to others.
	Host string `json:"host"`
}

// CaddyModule returns the Caddy module information.
func (*Lamp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: target.Namespace + ".lamp", New: func() caddy.Module { return new(Lamp) }}
}

// UnmarshalCaddyfile reads:
//
//	deliver lamp <host>
func (l *Lamp) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // lamp
	if !d.AllArgs(&l.Host) {
		return d.ArgErr()
	}
	return nil
}

// Target implements target.Module. The app delivers to the devices.
func (*Lamp) Target() target.Target { return target.Target{Name: "lamp"} }

// Devices implements target.DeviceModule.
func (l *Lamp) Devices() target.DeviceSender { return l }

// Kind implements target.DeviceSender.
func (*Lamp) Kind() target.DeviceKind { return "lamp" }

// Content implements target.DeviceSender: a lamp needs to know next to nothing.
func (*Lamp) Content() target.Content { return target.Thin }

// CheckAddress implements target.DeviceSender.
func (l *Lamp) CheckAddress(_ context.Context, a *target.Address) error {
	u, err := url.Parse(a.Endpoint)
	if err != nil || u.Scheme != "http" || u.Host != l.Host {
		return &target.FieldError{Field: "endpoint", Problem: "must be http://" + l.Host + "/…"}
	}
	return nil
}

// SendMail implements target.DeviceSender.
func (*Lamp) SendMail(ctx context.Context, d *target.Device, m target.Mail) target.Result {
	return post(ctx, d.Endpoint, "on: "+m.Folder)
}

// SendSummary implements target.DeviceSender.
func (*Lamp) SendSummary(ctx context.Context, d *target.Device, s target.Summary) target.Result {
	if s.Count == 0 { // all of it was read meanwhile
		return post(ctx, d.Endpoint, "off")
	}
	return post(ctx, d.Endpoint, "on: INBOX")
}

// SendCode implements target.DeviceSender: the lamp blinks the code.
func (*Lamp) SendCode(ctx context.Context, d *target.Device) target.Result {
	return post(ctx, d.Endpoint, "blink: "+d.VerificationCode)
}

// SendTest implements target.DeviceSender.
func (*Lamp) SendTest(ctx context.Context, d *target.Device) target.Result {
	return post(ctx, d.Endpoint, "blink")
}

// Interface guards.
var (
	_ caddyfile.Unmarshaler = (*Lamp)(nil)
	_ target.DeviceModule   = (*Lamp)(nil)
	_ target.DeviceSender   = (*Lamp)(nil)
)
