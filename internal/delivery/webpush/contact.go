// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"errors"
	"fmt"
	netmail "net/mail"
	"net/url"
	"strings"

	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
)

// ParseContact returns the configured contact as the URL that is sent to push
// services (RFC 8292, section 2.1). A bare address is a mail address. Contacts
// that large push services refuse are errors: Apple's answers 403 to every
// message of a server whose contact cannot be reached.
func ParseContact(contact string) (string, error) {
	if contact == "" {
		return "", errors.New("contact is missing: some push services refuse messages of servers that do not say whom to write to, such as: contact mailto:postmaster@example.com")
	}
	var host string
	result := contact
	if u, err := url.Parse(contact); err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil {
		host = u.Hostname()
	} else {
		address := strings.TrimPrefix(contact, "mailto:")
		if parsed, err := netmail.ParseAddress(address); err != nil || parsed.Address != address {
			return "", errors.New("contact must be mailto: with a mail address, or an https:// URL")
		}
		host, result = address[strings.LastIndexByte(address, '@')+1:], "mailto:"+address
	}
	if !outbound.PublicName(strings.ToLower(host)) {
		return "", fmt.Errorf("contact: %q is no name of the Internet: large push services, Apple's among them, refuse every message of a server with such a contact; give an address that exists, such as: contact mailto:postmaster@example.com", host)
	}
	return result, nil
}
