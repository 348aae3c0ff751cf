// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux && !darwin && !freebsd

package caddymodule

// freeBytes is not known here.
func freeBytes(string) (uint64, bool) { return 0, false }
