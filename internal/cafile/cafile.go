// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package cafile reads files with the certificates of certificate authorities.
package cafile

import (
	"crypto/x509"
	"fmt"
	"os"
)

// Pool is a pool of the certificates in a PEM file.
func Pool(path string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	return pool, Add(pool, path)
}

// Add adds the certificates in a PEM file to a pool. A file without one is an error.
func Add(pool *x509.CertPool, path string) error {
	pem, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("no certificate in %s", path)
	}
	return nil
}
