// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// Two Caddys that share a queue and a storage are one for those who use them:
// Dovecot reports to one, a person is at the other, and may come to either.
func TestDevicesOfCluster(t *testing.T) {
	t.Parallel()
	const alice = "user0@example.com"
	nats, service, ox := startNATS(t), pushtest.Start(t), startMiddleware(t)
	storage := t.TempDir()
	var all []*withAPI
	for range 2 {
		f := &withAPI{newFront(t, ox.addr, "queue embedded {", "queue nats nats://"+nats.address+" {\ndurability any\ncredentials nats {env.NATS_PASSWORD}"), freeAddress(t)}
		f.Setenv("NATS_PASSWORD=nats-secret")
		f.config = strings.Replace(f.config, "{\n", "{\nstorage file_system "+storage+"\n", 1)
		all = append(all, f)
	}
	here, there := all[0], all[1]
	dovecot := dovecottest.Start(t, dovecottest.Config{
		Version: dovecottest.V23, Users: users(1), ExtraConfig: patient(dovecottest.V23),
		Drivers: []dovecottest.Driver{{URL: here.url("http"), Timeout: 10 * time.Second, MaxAttempts: 2}},
	})
	for _, f := range all {
		f.deliverToDevices(t, dovecot, service)
	}
	ca := filepath.Join(storage, "pki", "authorities", "local", "root.crt")
	p := newPerson(t, "https://"+there.address+"/push", ca)
	require.Equal(t, http.StatusOK, p.signIn(alice, "pass"))
	elsewhere := *p // the same browser with its cookies, which are the host's
	elsewhere.site = "https://" + here.address + "/push"

	phone, path := p.subscribe(service)
	stream := p.listen()
	stream.connected(1)
	require.Eventually(t, func() bool {
		out, _ := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", alice, "", dovecottest.MetadataKey)
		return strings.Contains(out, "user="+alice)
	}, waitTimeout, waitTimeout/1000)
	deliver(t, dovecot, "came in here", alice)
	assert.Equal(t, "came in here", mailOf(t, phone.Wait(2)[1]).Subject)
	assert.Equal(t, "came in here", stream.wait(1)[0].Subject)

	// The session, the key of the server and the devices are the same.
	status, session := elsewhere.call(http.MethodGet, "/api/session", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, alice, session["user"])
	_, config := p.call(http.MethodGet, "/api/config", "")
	_, same := elsewhere.call(http.MethodGet, "/api/config", "")
	assert.Equal(t, config, same)
	require.Eventually(t, func() bool {
		_, list := elsewhere.call(http.MethodGet, "/api/subscriptions", "")
		return len(list["subscriptions"].([]any)) == 1
	}, waitTimeout, waitTimeout/1000)

	// What is changed at one holds at the other.
	status, _ = elsewhere.call(http.MethodDelete, path, "")
	require.Equal(t, http.StatusNoContent, status)
	require.Eventually(t, func() bool {
		_, list := p.call(http.MethodGet, "/api/subscriptions", "")
		return len(list["subscriptions"].([]any)) == 0
	}, waitTimeout, waitTimeout/1000)
	deliver(t, dovecot, "for the stream alone", alice)
	assert.Equal(t, "for the stream alone", stream.wait(2)[1].Subject)
	assert.Equal(t, 2, phone.Got())
	copied, cookies := newPerson(t, p.site, ca), cookiesOf(t, p)
	copied.client.Jar = nil
	copied.before = func(r *http.Request) { r.Header.Set("Cookie", cookies) }
	status, _ = copied.call(http.MethodGet, "/api/session", "")
	require.Equal(t, http.StatusOK, status)
	status, _ = elsewhere.call(http.MethodDelete, "/api/session", "")
	require.Equal(t, http.StatusNoContent, status)
	require.Eventually(t, func() bool {
		status, _ := copied.call(http.MethodGet, "/api/session", "")
		return status == http.StatusUnauthorized
	}, waitTimeout, waitTimeout/1000)
}
