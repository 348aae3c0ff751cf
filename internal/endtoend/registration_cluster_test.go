// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// Of two Caddys with one store, one registers everybody. It is killed in the
// middle, and the other one does the rest. Requests to either hold for both.
func TestRegistrationOfTwo(t *testing.T) {
	t.Parallel()
	const many, last = 150, "user149@example.com"
	nats := startNATS(t)
	dovecot := dovecottest.Start(t, dovecottest.Config{Users: users(many), NoDebugLog: true})
	proxy := newCountingProxy(t, dovecot)
	proxy.stopAt(many / 2)
	var fronts []*front
	for range 2 {
		f := newFront(t, "127.0.0.1:1", "queue embedded {", "queue nats nats://"+nats.address+" {\ndurability any\ncredentials nats {env.NATS_PASSWORD}")
		f.Setenv("NATS_PASSWORD=nats-secret")
		f.Setenv("API_SECRET=" + dovecot.APIKey())
		f.config = strings.Replace(f.config, "dovecot_push {\n", "dovecot_push {\n"+
			"doveadm "+proxy.URL+"/doveadm/v1 {\napi_secret {env.API_SECRET}\n}\nregister all {\nconcurrency 4\n}\ncatch_up {\noff\n}\n", 1)
		fronts = append(fronts, f)
	}
	one, other := fronts[0], fronts[1]
	one.start(t)
	require.Eventually(t, func() bool { return proxy.written() > 0 }, waitTimeout, time.Millisecond)
	other.start(t)
	requireReach(t, many/3, proxy.written, time.Millisecond)
	assert.Equal(t, 1, proxy.counted("user"), "one of them lists the users")
	one.Kill()
	killed := proxy.written()
	require.Less(t, killed, many)
	proxy.stopAt(0)
	requireReach(t, many, proxy.written, 20*time.Millisecond)

	one.start(t)
	for _, f := range fronts {
		require.Eventually(t, func() bool {
			out, err := f.command("registrations", "--all")
			return err == nil && strings.Count(out, " registered ") == many
		}, waitTimeout, 50*time.Millisecond)
	}
	assert.Equal(t, 2, proxy.counted("user"), "one who was killed, and one who went on")
	proxy.mu.Lock()
	for user, n := range proxy.sets {
		assert.Equal(t, 1, n, user)
	}
	proxy.mu.Unlock()

	out, err := one.command("unregister", last)
	require.NoError(t, err, out)
	out, err = other.command("registrations", last)
	require.NoError(t, err, out)
	assert.Contains(t, out, "unregistered by hand")
	assert.Empty(t, valueIn(t, dovecot, last))
	out, err = other.command("register", last)
	require.NoError(t, err, out)
	assert.Equal(t, "user="+last+ourMark, valueIn(t, dovecot, last))
	out, err = one.command("registrations", last)
	require.NoError(t, err, out)
	assert.Contains(t, out, "registered by hand")
	assert.Equal(t, 1, proxy.counted("mailboxMetadataUnset"))
	assert.Equal(t, many+1, proxy.counted("mailboxMetadataSet"))
	t.Logf("killed after %d of %d", killed, many)
}
