// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package option

import (
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/cafile"
)

// ClientTLS reads the files of a client of TLS: the authorities it trusts in
// the place of the system's, and the certificate it shows. It is nil if there
// are none.
func ClientTLS(caFile, certFile, keyFile string) (*tls.Config, error) {
	if (certFile == "") != (keyFile == "") {
		return nil, errors.New("a client certificate needs its key, and a key its certificate")
	}
	if caFile == "" && certFile == "" {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if caFile != "" {
		var err error
		if cfg.RootCAs, err = cafile.Pool(caFile); err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
	}
	if certFile != "" {
		cert, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, fmt.Errorf("client_cert: %w", err)
		}
		cfg.Certificates = []tls.Certificate{cert}
	}
	return cfg, nil
}
