// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
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

// Doveconf runs doveconf of the wanted version on the files of another server,
// with their paths as they are there: absolute ones are below a directory of the
// test. The configuration is /etc/dovecot/dovecot.conf.
//
// The error wraps [ErrNoSuchVersion] if the machine does not have the version.
func Doveconf(ctx context.Context, version Version, files map[string]string, args ...string) (out string, err error) {
	inst, err := findInstallation(ctx, version)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(filepath.Join("/", inst.root, "tmp"), "dct")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	inside := filepath.Join("/tmp", filepath.Base(dir))
	paths := strings.NewReplacer("/etc/dovecot/", inside+"/etc/dovecot/", "/overrides/", inside+"/overrides/")
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(file, []byte(paths.Replace(content)), 0o644); err != nil {
			return "", err
		}
	}
	return output(inst.command(ctx, append([]string{"doveconf", "-c", inside + "/etc/dovecot/dovecot.conf"}, args...)...))
}
