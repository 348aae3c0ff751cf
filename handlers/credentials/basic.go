// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package credentials

import (
	"errors"
	"net/http"
	"strings"
)

// maxHeader bounds the Authorization header, in bytes.
const maxHeader = 4 << 10

var (
	errMissing   = errors.New("no Basic credentials")
	errMalformed = errors.New("malformed Basic credentials")
)

// basic reads the credentials of r. The password may contain colons and is not
// empty. The user name and the password are the bytes that were
// sent, which RFC 7617 and Dovecot agree to be UTF-8.
func basic(r *http.Request) (username, password string, err error) {
	headers := r.Header.Values("Authorization")
	if len(headers) == 0 {
		return "", "", errMissing
	}
	scheme, _, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", "", errMissing
	}
	// With two headers, others on the way may use another one than we do.
	if len(headers) > 1 || len(headers[0]) > maxHeader {
		return "", "", errMalformed
	}
	username, password, ok := r.BasicAuth()
	if !ok || password == "" {
		return "", "", errMalformed
	}
	return username, password, nil
}
