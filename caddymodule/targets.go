// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// startTargets starts what the targets and the app keep for them, and returns the
// targets as the engine takes them.
func (a *App) startTargets(q *queue.Queue) ([]target.Target, error) {
	if a.devices != nil {
		a.devices.start(a, q)
	}
	if a.streams != nil {
		if err := a.streams.start(a, q); err != nil {
			return nil, err
		}
	}
	all := make([]target.Target, len(a.targets))
	for i, m := range a.targets {
		if l, ok := m.(target.Lifecycle); ok {
			if err := l.Start(targetApp{a, m}); err != nil {
				return nil, err
			}
			a.begun = append(a.begun, l)
		}
		all[i] = m.Target()
		if d, ok := m.(target.DeviceModule); ok {
			a.devices.deliver(&all[i], d)
		}
	}
	return all, nil
}

// stopTargets stops them, after the last delivery. What streams need stays until
// they have ended, see Cleanup.
func (a *App) stopTargets() {
	for _, l := range a.begun {
		l.Stop()
	}
	a.begun = nil
	if a.devices != nil {
		a.devices.stop()
	}
}

func (a *App) targetNames() []string {
	names := make([]string, len(a.targets))
	for i, t := range a.targets {
		names[i] = t.Target().Name
	}
	return names
}
