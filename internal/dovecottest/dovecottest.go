// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package dovecottest starts a real Dovecot for tests, demos and benchmarks.
//
// A [Config] has the Dovecot version, the users and the ox drivers that notify.
// A [Server] listens on free ports of 127.0.0.1 with LMTP, IMAP and the DoveAdm
// HTTP API, which mail can be delivered to and whose users can be registered
// for notifications. Everything it writes is in a directory of its own that
// [Server.Close] removes; a Dovecot that runs on the machine anyway is not
// touched, and any number of servers run side by side. A server ends with the
// process that started it, also when that process is killed.
//
// Dovecot needs root: tests run as root or with a sudo that asks no password.
// Dovecot 2.3 is the distribution's own (Debian packages dovecot-core,
// dovecot-imapd and dovecot-lmtpd; install.sh installs them). Dovecot 2.4 is
// the distribution's own where that is 2.4, else the one in the Debian root
// directory that the environment variable DOVECOT_24_ROOT names (root24.sh
// makes one).
package dovecottest

import (
	"errors"
	"testing"
	"time"
)

// Version is a line of Dovecot releases with one configuration syntax.
type Version string

// The versions that can be started. The empty Version is the one that the
// distribution brings.
const (
	V23 Version = "2.3"
	V24 Version = "2.4"
)

// MailFormat is how Dovecot stores mail.
type MailFormat string

const (
	// SDBox always knows the UID of a mail when it notifies.
	SDBox MailFormat = "sdbox"
	// Maildir does not know it when something else uses the mailbox at the
	// same time, and notifies with UID 0 then.
	Maildir MailFormat = "maildir"
)

// The user of a server whose configuration names none.
const (
	DefaultUser     = "alice@example.com"
	DefaultPassword = "wonderland"
)

// Config is what a server is started with. The zero Config is valid: the
// distribution's Dovecot, one user, no driver.
type Config struct {
	Version Version
	// Users can sign in and get mail. Default: DefaultUser.
	Users []User
	// Drivers are the ox drivers, all of which notify. Default: none.
	Drivers []Driver
	// SSLClientCAFile is the PEM file with the certification authorities that
	// https drivers trust. Dovecot gets a copy, as of the two files below.
	SSLClientCAFile string
	// SSLClientCertFile and SSLClientKeyFile are the PEM files of the client
	// certificate that https drivers show.
	SSLClientCertFile, SSLClientKeyFile string
	// IMAPMetadata lets users register themselves with SETMETADATA (RFC 5464).
	// DoveAdm registers without it.
	IMAPMetadata bool
	// NoAttributeDict leaves METADATA without a dictionary: nobody can be
	// registered, by no means.
	NoAttributeDict bool
	// NoIteration makes the user database one that cannot list its users.
	NoIteration bool
	// Master, if its name is set, can sign in for every user over IMAP, as
	// Master*User or with the authorization identity of SASL.
	Master User
	// NoFailureDelay answers a wrong login at once. Dovecot takes 2 s for it as
	// a rule, and 2.3 makes everybody wait who comes from the same address.
	NoFailureDelay bool
	// MailFormat defaults to SDBox.
	MailFormat MailFormat
	// NoDebugLog keeps debug messages out of the log, for benchmarks.
	NoDebugLog bool
	// Files are put into the server's directory, {{.Dir}}, by their names.
	Files map[string]string
	// ExtraConfig is appended to Dovecot's configuration. It is a text/template:
	// {{.Dir}} is the server's directory as Dovecot sees it, {{.LMTPPort}},
	// {{.IMAPPort}} and {{.DoveAdmPort}} are its ports, {{.APIKey}} is the key of
	// its DoveAdm HTTP API, {{.SSLClientCAFile}}, {{.SSLClientCertFile}} and
	// {{.SSLClientKeyFile}} are Dovecot's copies of the files above.
	ExtraConfig string
}

// User is one mail account.
type User struct {
	Name, Password string
	// AliasOf, if not empty, is the user whose mailbox this name opens too.
	AliasOf string
}

// Driver is one ox driver of Dovecot's push_notification plugin.
type Driver struct {
	// URL of the endpoint, with the Basic credentials in it. Percent-escapes
	// are written as RFC 3986 has them, in every version.
	URL string
	// UserFromMetadata makes Dovecot report the user of the METADATA value
	// instead of the one the mail is for.
	UserFromMetadata bool
	// Timeout of one request. Default: Dovecot's own, which is 2 s but in 2.4.0
	// to 2.4.3, where it is 60 s.
	Timeout time.Duration
	// MaxAttempts is how often a request is sent at most. Default: Dovecot's
	// own, which is 2 but in 2.4.0 to 2.4.3, where it is 1.
	MaxAttempts int
}

// Start starts a server that ends with the test. The test is skipped when the
// machine cannot have the wanted version, and fails when it could have it but
// Dovecot is missing or does not start. The log of Dovecot is printed if the
// test fails.
func Start(t testing.TB, cfg Config) *Server {
	t.Helper()
	server, err := New(t.Context(), cfg)
	if errors.Is(err, ErrNoSuchVersion) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of Dovecot %s:\n%s", server.Release(), server.Log())
		}
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// EachVersion runs the test once for every version, as the subtests dovecot-2.3
// and dovecot-2.4. One that the machine cannot have is skipped with the reason.
func EachVersion(t *testing.T, test func(t *testing.T, version Version)) {
	t.Helper()
	for _, version := range []Version{V23, V24} {
		t.Run("dovecot-"+string(version), func(t *testing.T) {
			if _, err := findInstallation(t.Context(), version); errors.Is(err, ErrNoSuchVersion) {
				t.Skip(err)
			} else if err != nil {
				t.Fatal(err)
			}
			test(t, version)
		})
	}
}
