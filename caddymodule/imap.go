// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/internal/imap"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

// MailLogin is the IMAP server that mail logins are checked at.
type MailLogin struct {
	// imaps://host[:993], or imap://host[:143] for STARTTLS. An imap URL with a
	// loopback address means no TLS. Placeholders are replaced.
	URL string `json:"url"`

	// A PEM file with the certificates of the CAs that the server's certificate
	// is verified with. Default: those of the operating system. Placeholders
	// are replaced.
	CAFile string `json:"ca_file,omitempty"`

	// Use no TLS for an imap URL that is not a loopback address. Passwords can
	// then be read in transit.
	Plaintext bool `json:"plaintext,omitempty"`
}

func (m *MailLogin) server() (*imap.Server, error) {
	url, err := option.Replace(m.URL)
	if err != nil {
		return nil, fmt.Errorf("URL: %w", err)
	}
	caFile, err := option.Replace(m.CAFile)
	if err != nil {
		return nil, fmt.Errorf("ca_file: %w", err)
	}
	return imap.New(imap.Config{URL: url, CAFile: caFile, Plaintext: m.Plaintext})
}

// IMAP is the IMAP server: people sign in with their mail login there, and
// users can be registered by its METADATA (RFC 5464), for which Dovecot needs
// imap_metadata = yes.
type IMAP struct {
	MailLogin

	// A user who may sign in for every other user, with the authorization
	// identity of SASL PLAIN: a passdb with master=yes in Dovecot. Placeholders
	// are replaced. Without a master user, users are registered with their own
	// login when they sign in.
	MasterUser string `json:"master_user,omitempty"`

	// The password of the master user, as a placeholder: {env.NAME} or
	// {file./path}.
	MasterPassword string `json:"master_password,omitempty"`

	server *imap.Server
	master registration.MasterUser
}

// provision reads the settings; it connects to nothing.
func (i *IMAP) provision() error {
	var err error
	if i.server, err = i.MailLogin.server(); err != nil {
		return err
	}
	if (i.MasterUser == "") != (i.MasterPassword == "") {
		return errors.New("a master user needs a password, and a password its master user")
	}
	if i.MasterUser == "" {
		return nil
	}
	if i.master.Name, err = option.Replace(i.MasterUser); err != nil {
		return fmt.Errorf("master_user: %w", err)
	}
	if i.master.Password, err = option.Secret(i.MasterPassword); err != nil {
		return fmt.Errorf("master_user: %w", err)
	}
	return nil
}
