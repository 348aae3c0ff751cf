// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

// devicesChanged is told that a user got their first device or lost the last.
func (a *App) devicesChanged(user string, anyDevice bool) {}
