// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package adminapi is what the running app and the programs that ask it share of
// Caddy's admin API below /dovecot_push/: where it is, and the types of its
// requests and answers.
package adminapi

// Prefix is where the routes are in Caddy's admin API.
const Prefix = "/dovecot_push/"

// Starting is in the error of a Caddy that has dovecot_push in its
// configuration, and has not started it yet.
const Starting = "Caddy is still starting"
