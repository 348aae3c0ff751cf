// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package adminapi

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// modulePath is the Go module of this repository.
const modulePath = "github.com/dovecotpush/caddy-dovecot-push"

// Version is what a binary was built from.
type Version struct {
	// The version of the Go module of dovecot_push; (devel) of a local build.
	Module string `json:"module"`
	Caddy  string `json:"caddy"`
	Go     string `json:"go"`
}

// NewVersion is what this binary, with a Caddy of the given version, was built
// from.
func NewVersion(caddy string) Version {
	v := Version{Module: "unknown", Caddy: caddy, Go: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	for _, m := range append(info.Deps, &info.Main) {
		if m.Path != modulePath {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		v.Module = m.Version
		if v.Module == "" { // replaced by a directory
			v.Module = "(devel)"
		}
	}
	return v
}

func (v Version) String() string {
	return fmt.Sprintf("caddy-dovecot-push %s, Caddy %s, %s", v.Module, v.Caddy, v.Go)
}
