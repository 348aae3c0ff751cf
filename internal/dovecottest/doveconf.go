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
func (s *Server) Doveconf() (string, error) {
	return s.run(nil, "doveconf", "-n", "-P", "-c", s.path("dovecot.conf"))
}

// DoveconfOf returns another configuration the same way, whether or not
// Dovecot could be started with it: a small one, with extra appended to it.
func (s *Server) DoveconfOf(extra string) (string, error) {
	var config bytes.Buffer
	if s.Version() == V24 {
		config.WriteString("dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n")
	}
	config.WriteString("ssl = no\n")
	config.WriteString(extra)
	file := filepath.Join(s.hostDir, "other.conf")
	if err := os.WriteFile(file, config.Bytes(), 0o600); err != nil {
		return "", err
	}
	return s.run(nil, "doveconf", "-n", "-P", "-c", s.path("other.conf"))
}
