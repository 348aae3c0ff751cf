// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi

import "fmt"

// Version is what a binary was built from.
type Version struct {
	// The version of the Go module of dovecot_push; (devel) of a local build.
	Module string `json:"module"`
	Caddy  string `json:"caddy"`
	Go     string `json:"go"`
}

func (v Version) String() string {
	return fmt.Sprintf("caddy-dovecot-push %s, Caddy %s, %s", v.Module, v.Caddy, v.Go)
}
