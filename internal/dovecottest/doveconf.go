// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"bytes"
	"os"
	"path/filepath"
)

// Doveconf returns the server's configuration as doveconf prints it, secrets
// included: what is not a default.
func (s *Server) Doveconf() (string, error) { return s.RunDoveconf("-n", "-P") }

// RunDoveconf runs doveconf with the server's configuration.
func (s *Server) RunDoveconf(args ...string) (string, error) {
	return s.run(nil, append([]string{"doveconf", "-c", s.path("dovecot.conf")}, args...)...)
}

// DoveconfOf returns what runs doveconf with another configuration, whether or
// not Dovecot could be started with it: a small one, with extra appended to it.
func (s *Server) DoveconfOf(extra string) (run func(args ...string) (string, error), err error) {
	var config bytes.Buffer
	if s.Version() == V24 {
		config.WriteString("dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n")
	}
	config.WriteString("ssl = no\n")
	config.WriteString(extra)
	file := filepath.Join(s.hostDir, "other.conf")
	if err := os.WriteFile(file, config.Bytes(), 0o600); err != nil {
		return nil, err
	}
	return func(args ...string) (string, error) {
		return s.run(nil, append([]string{"doveconf", "-c", s.path("other.conf")}, args...)...)
	}, nil
}
