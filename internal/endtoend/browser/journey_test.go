// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package browser

import (
	"context"
	"crypto/ecdh"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/page"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webpush"
	"github.com/dovecotpush/caddy-dovecot-push/internal/outbound"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// server is the page on an API, and what is behind that.
type server struct {
	site, user, password string
	// receive makes a mail arrive.
	receive func(from, subject string)
}

// servers start a server that sends to a push service: the stand-in, and the
// real one.
var servers = map[string]func(*testing.T, *pushService) server{
	"stand-in": standInServer,
	"real":     realServer,
}

// browsers start a browser that has notifications of a site allowed and takes
// pushes from a push service.
var browsers = map[string]func(t *testing.T, site string, service *pushService) window{
	"chromium": func(t *testing.T, site string, service *pushService) window {
		c := startChromium(t, "en", "ignore-certificate-errors")
		c.harmless = []string{unauthorized} // nobody is signed in at first
		c.permit(site, browser.PermissionSettingGranted)
		c.inject(fmt.Sprintf(pushManager, service.endpoint()))
		service.device = func(subscription string, body []byte) bool {
			return c.receive(site, service.endpoint()+subscription, body)
		}
		return c
	},
	"firefox": func(t *testing.T, _ string, service *pushService) window { return startFirefox(t, service) },
}

// The way of somebody who wants to know of new mail, from signing in to having
// enough of it.
func TestJourney(t *testing.T) {
	for serverName, start := range servers {
		for browserName, open := range browsers {
			t.Run(serverName+"/"+browserName, func(t *testing.T) {
				service := startPushService(t)
				s := start(t, service)
				journey(tab{open(t, s.site, service), t}, s)
			})
		}
	}
}

func journey(p tab, s server) {
	p.open(s.site)
	p.enter(s.user, s.password)
	p.awaitText("#user", s.user)
	p.awaitText("#stream", "Live")

	// New mail shows up on the page.
	s.receive("Mia Winter <mia@example.net>", "Photos from the weekend")
	p.awaitText(".mail .from", "Mia Winter")
	p.awaitText(".mail .subject", "Photos from the weekend")
	assert.Empty(p.t, p.notifications())

	// The device is asked to confirm, and does.
	p.awaitState("off")
	p.click("#device-do")
	p.awaitState("on")
	p.awaitNotification("Notifications are on")

	// From now on it is notified.
	s.receive("Jonas Berg <jonas@example.org>", "Lunch on Thursday?")
	n := p.awaitNotification("Jonas Berg")
	assert.Equal(p.t, "Lunch on Thursday?", n.Body)
	assert.Equal(p.t, "mail:INBOX", n.Tag)
	p.awaitText(".mail .subject", "Lunch on Thursday?")
	s.receive("Town library <service@example.org>", "Your books are due on Friday")
	n = p.awaitNotification("Town library")
	assert.Equal(p.t, "Your books are due on Friday\nand one more before", n.Body)
	p.click("#device-test")
	p.awaitText("#device-note", "The test has arrived.")
	p.awaitNotification("It works")

	// It has a name.
	p.click(".rename")
	p.awaitVisible(".renaming input")
	p.keys("My laptop" + keyEnter)
	p.awaitText(".subscription .name", "My laptop")
	p.open(s.site)
	p.awaitText(".subscription .name", "My laptop")
	p.awaitText(".subscription .delivery", "Last delivery")
	p.awaitState("on")

	preferred(p)

	// And it is silent again, though the page still tells.
	p.click("#device-off")
	p.awaitState("off")
	p.awaitVisible("#devices-empty")
	p.do("for (const n of await (await navigator.serviceWorker.ready).getNotifications()) n.close()")
	p.awaitText("#stream", "Live")
	s.receive("Mia Winter <mia@example.net>", "One more photo")
	p.awaitText(".mail .subject", "One more photo")
	assert.Empty(p.t, p.notifications())
	p.click("#sign-out") // nothing is lost, and nothing asked
	p.awaitVisible("#sign-in")
}

// Firefox loses its subscription with its push service, and gets another.
func TestPushServiceForgets(t *testing.T) {
	service := startPushService(t)
	s := standInServer(t, service)
	p := tab{startFirefox(t, service), t}
	p.open(s.site)
	p.enter(s.user, s.password)
	p.click("#device-do")
	p.awaitState("on")
	p.open("about:blank")
	service.forget()
	require.Eventually(t, func() bool { return service.known() == 1 }, waitTimeout, waitTimeout/1000, "the service worker subscribes again")
	p.open(s.site)
	p.awaitState("on")
	s.receive("Mia Winter <mia@example.net>", "Photos")
	p.awaitNotification("Mia Winter")
}

// receive is what a browser does with a message from its push service: finds
// the subscription, decrypts, and wakes the service worker up.
func (c *chromium) receive(site, endpoint string, body []byte) bool {
	keys := eval[struct{ Endpoint, PrivateKey, Auth string }](tab{c, c.t},
		`(s => ({endpoint: s?.endpoint, privateKey: s?.privateKey, auth: s?.keys.auth}))(JSON.parse(localStorage.getItem('test:push')))`)
	if keys.Endpoint != endpoint {
		return false
	}
	scalar, err := base64.RawURLEncoding.DecodeString(keys.PrivateKey)
	require.NoError(c.t, err)
	private, err := ecdh.P256().NewPrivateKey(scalar)
	require.NoError(c.t, err)
	auth, err := base64.RawURLEncoding.DecodeString(keys.Auth)
	require.NoError(c.t, err)
	payload, err := pushtest.Decrypt(body, private, auth)
	require.NoError(c.t, err)
	c.deliver(site, string(payload))
	return true
}

// standInServer is the stand-in for the API, which sends as the real one does.
func standInServer(t *testing.T, service *pushService) server {
	t.Helper()
	key, err := webpush.NewKey(time.Now())
	require.NoError(t, err)
	policy, err := outbound.NewPolicy(service.endpoints.URL)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(service.endpoints.Certificate())
	client := outbound.NewClient(outbound.Config{Policy: policy, RootCAs: roots})
	t.Cleanup(client.CloseIdleConnections)
	sender := webpush.NewSender(webpush.Config{
		Client: client, Contact: "mailto:postmaster@example.com",
		Keys: func(context.Context) (webpush.Ring, error) { return webpush.Ring{key}, nil },
	})

	s := startStandIn(t, page.Options{})
	s.config["applicationServerKey"] = key.Public()
	s.defaults.Urgency = subscription.Normal
	s.push = func(to *device, payload string) {
		s.mu.Lock()
		d := subscription.Subscription{ID: to.ID, Endpoint: to.endpoint, ServerKey: key.Public()}
		require.NoError(t, d.Keys.P256DH.UnmarshalText([]byte(to.p256dh)))
		require.NoError(t, d.Keys.Auth.UnmarshalText([]byte(to.auth)))
		s.mu.Unlock()
		result := sender.Send(t.Context(), &d, webpush.Message{Payload: []byte(payload), TTL: time.Minute})
		assert.Equal(t, delivery.Delivered, result.Outcome, result.Err)
		s.with(func() { to.LastDelivery = &subscription.Delivery{Time: time.Now(), Outcome: result.Outcome.String()} })
	}
	n := 0
	return server{site: s.site, user: user, password: password, receive: func(from, subject string) {
		n++
		m := newMail(n, from, subject)
		s.emit(m.ID, "mail", m)
		var devices []*device
		s.with(func() { devices = slices.Clone(s.subscriptions) })
		for _, d := range devices {
			s.send(d, m)
		}
	}}
}
