// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package fcm

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

// maxCertificates bounds the certificates of a service account, which has ten keys at
// most, in bytes.
const maxCertificates = 64 << 10

// endless is the year in which the certificates of keys without an end expire.
const endless = 9999

// ErrKeyUnknown means that Google does not list the key of a service account: it was
// deleted or has expired, or was created a moment ago.
var ErrKeyUnknown = errors.New("the key is not listed by Google: it was deleted, or has expired")

var errCertificates = errors.New("the certificates of the service account cannot be read")

// KeyEnds asks Google for the certificate of the key, and returns when it expires. That
// is the zero time for a key without an end, and where the file of the account does not
// say where its certificates are. Errors: [ErrKeyUnknown].
func (a *Account) KeyEnds(ctx context.Context) (time.Time, error) {
	if a.certificates == nil {
		return time.Time{}, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, a.certificatesURL, http.NoBody)
	if err != nil {
		return time.Time{}, errCertificates
	}
	resp, err := a.certificates.Do(req)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: %w", errCertificates, delivery.ResultOfFailure(err).Err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return time.Time{}, fmt.Errorf("%w: Google answers %d %s", errCertificates, resp.StatusCode, http.StatusText(resp.StatusCode))
	}
	var byKey map[string]string
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxCertificates)).Decode(&byKey); err != nil {
		return time.Time{}, fmt.Errorf("%w: the answer is not the JSON that it should be", errCertificates)
	}
	text, ok := byKey[a.KeyID]
	if !ok {
		return time.Time{}, ErrKeyUnknown
	}
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return time.Time{}, fmt.Errorf("%w: the answer holds something else", errCertificates)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, fmt.Errorf("%w: the answer holds something else", errCertificates)
	}
	if cert.NotAfter.Year() >= endless {
		return time.Time{}, nil
	}
	return cert.NotAfter, nil
}
