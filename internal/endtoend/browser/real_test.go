// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// realCaddyfile is what a small installation has, on ports of the test.
const realCaddyfile = `{
	skip_install_trust
	dovecot_push {
		doveadm DOVEADM_URL {
			api_secret {env.DOVEADM_API_SECRET}
		}
		device_defaults {
			urgency normal
		}
		deliver webpush {
			contact         mailto:postmaster@example.com
			allow_endpoints PUSHSERVICE
		}
	}
}

http://127.0.0.1:PORT {
	dovecot_push_notify {
		allow       127.0.0.1
		credentials dovecot {env.NOTIFY_PASSWORD}
	}
}

https://localhost:SITE {
	tls internal
	encode
	dovecot_push_api /push/* {
		login imap imap://IMAP
	}
}
`

// realServer is a real Caddy with a real Dovecot, where nobody is registered
// before they sign in.
func realServer(t *testing.T, service *pushService) server {
	t.Helper()
	notify, site := freePort(t), freePort(t)
	dovecot := dovecottest.Start(t, dovecottest.Config{
		Users:   []dovecottest.User{{Name: user, Password: "alices-password"}},
		Drivers: []dovecottest.Driver{{URL: "http://dovecot:notify-password@127.0.0.1:" + notify + "/preliminary/http-notify/v1/notify", Timeout: 10 * time.Second, MaxAttempts: 2}},
	})
	ca := filepath.Join(t.TempDir(), "push-ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: service.endpoints.Certificate().Raw})
	require.NoError(t, os.WriteFile(ca, block, 0o600))
	caddytestkit.Start(t, strings.NewReplacer(
		"DOVEADM_URL", dovecot.DoveAdmURL(), "PUSHSERVICE", strings.TrimPrefix(service.endpoints.URL, "https://"),
		"PORT", notify, "SITE", site, "IMAP", dovecot.IMAPAddr(),
	).Replace(realCaddyfile), "DOVEADM_API_SECRET="+dovecot.APIKey(), "NOTIFY_PASSWORD=notify-password", "SSL_CERT_FILE="+ca)
	require.Eventually(t, func() bool {
		conn, err := tls.Dial("tcp", "localhost:"+site, &tls.Config{InsecureSkipVerify: true})
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, waitTimeout, waitTimeout/1000, "the certificate of the site")
	return server{site: "https://localhost:" + site + "/push/", user: user, password: "alices-password", receive: func(from, subject string) {
		// Who signs in for the first time is registered a moment later.
		require.Eventually(t, func() bool {
			registration, err := dovecot.Doveadm("mailbox", "metadata", "get", "-u", user, "-s", "", "/private/vendor/vendor.dovecot/http-notify")
			return err == nil && strings.Contains(registration, "user="+user)
		}, waitTimeout, waitTimeout/100, "the registration with Dovecot")
		message := fmt.Sprintf("From: %s\r\nTo: %s\r\nSubject: %s\r\n\r\nHello.\r\n", from, user, subject)
		_, err := dovecot.Deliver("sender@example.net", []string{user}, []byte(message))
		require.NoError(t, err)
	}}
}

func freePort(t *testing.T) string {
	t.Helper()
	port, err := freeport.Get()
	require.NoError(t, err)
	return strconv.Itoa(port)
}
