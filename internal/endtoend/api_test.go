// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// withAPI is a front with an API that checks logins at a Dovecot. Its site is
// another one than that of the notify endpoint.
type withAPI struct {
	*front
	address string
}

func startAPI(t *testing.T, middleware string, replacements ...string) *withAPI {
	t.Helper()
	f := &withAPI{newFront(t, middleware, replacements...), freeAddress(t)}
	f.config += strings.ReplaceAll(`
https://ADDRESS {
	tls internal
	encode
	dovecot_push_api /push/* {
		login imap imap://127.0.0.1:1
	}
	respond "the webmail"
}
`, "ADDRESS", f.address)
	f.start(t)
	awaitCertificate(t, f.address)
	return f
}

// checkAt makes logins be checked at a Dovecot, which is started after Caddy
// because it needs its certificate.
func (f *withAPI) checkAt(t *testing.T, dovecot *dovecottest.Server) {
	t.Helper()
	f.config = strings.Replace(f.config, "127.0.0.1:1\n", dovecot.IMAPAddr()+"\n", 1)
	require.NoError(t, f.Reload(f.config))
	awaitCertificate(t, f.address)
}

func (f *withAPI) person(t *testing.T) *person {
	t.Helper()
	return newPerson(t, "https://"+f.address+"/push", f.RootCA())
}

// patient is a Dovecot that does not make people wait for mistakes of others.
func patient(version dovecottest.Version) string {
	if version == dovecottest.V23 {
		return "auth_failure_delay = 0\nservice anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}\n"
	}
	return "auth_failure_delay = 0\n"
}

// A mail comes to somebody who has signed in with the mail login.
func TestMailInStream(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		f := startAPI(t, startMiddleware(t).addr)
		dovecot := startDovecot(t, version, f.front, dovecottest.Config{Users: users(2), ExtraConfig: patient(version)}, f.url("https"))
		f.checkAt(t, dovecot)
		p, other := f.person(t), f.person(t)
		status, _ := p.call(http.MethodGet, "/api/session", "")
		assert.Equal(t, http.StatusUnauthorized, status)
		assert.Equal(t, http.StatusUnauthorized, p.signIn("user0@example.com", "wrong"))
		assert.Equal(t, http.StatusUnauthorized, p.signIn("nobody@example.com", "pass"))
		require.Equal(t, http.StatusOK, p.signIn("User0@Example.COM", "pass"))
		status, session := p.call(http.MethodGet, "/api/session", "")
		assert.Equal(t, http.StatusOK, status)
		assert.Equal(t, "user0@example.com", session["user"])
		require.Equal(t, http.StatusOK, other.signIn("user1@example.com", "pass"))

		mine, others, program := p.listen(), other.listen(), f.person(t).as("user0@example.com", "pass").listen()
		mine.connected(1)
		others.connected(1)
		program.connected(1)
		deliver(t, dovecot, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "user0@example.com")
		for _, l := range []*listener{mine, program} {
			got := l.wait(1)[0]
			assert.Equal(t, "Grüße", got.Subject)
			assert.Equal(t, "Alice Example <alice@example.net>", got.From)
			assert.Equal(t, "INBOX", got.Folder)
			assert.EqualValues(t, 1, got.UID)
			assert.EqualValues(t, 1, got.Unseen)
			assert.Equal(t, "messageNew", got.Event)
			assert.WithinDuration(t, time.Now(), got.Time, waitTimeout)
		}
		deliver(t, dovecot, "for the other one", "user1@example.com")
		assert.Equal(t, "for the other one", others.wait(1)[0].Subject)
		assert.Len(t, mine.got(), 1)

		// Signing out holds over a restart.
		copied := f.person(t)
		copied.client.Jar = nil
		cookies := cookiesOf(t, p)
		copied.before = func(r *http.Request) { r.Header.Set("Cookie", cookies) }
		status, _ = copied.call(http.MethodGet, "/api/session", "")
		assert.Equal(t, http.StatusOK, status)
		status, _ = p.call(http.MethodDelete, "/api/session", "")
		assert.Equal(t, http.StatusNoContent, status)
		for _, restart := range []bool{false, true} {
			if restart {
				f.Stop()
				f.start(t)
				awaitCertificate(t, f.address)
			}
			status, _ = copied.call(http.MethodGet, "/api/session", "")
			assert.Equal(t, http.StatusUnauthorized, status, "restarted: %v", restart)
			status, _ = other.call(http.MethodGet, "/api/session", "")
			assert.Equal(t, http.StatusOK, status, "restarted: %v", restart)
		}
	})
}

// cookiesOf are the cookies that a person has, as a header.
func cookiesOf(t *testing.T, p *person) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, p.site, nil)
	require.NoError(t, err)
	var all []string
	for _, c := range p.client.Jar.Cookies(r.URL) {
		all = append(all, c.Name+"="+c.Value)
	}
	require.NotEmpty(t, all)
	return strings.Join(all, "; ")
}

// The page and the API are where the directive says, and everything else is
// not concerned.
func TestPageBelowPath(t *testing.T) {
	t.Parallel()
	f := startAPI(t, "127.0.0.1:1")
	p := f.person(t)
	p.site = "https://" + f.address
	for path, want := range map[string]string{
		"/push": "<!DOCTYPE html>", "/push/": "<!DOCTYPE html>", "/push/api/openapi.yaml": "openapi: 3",
		"/push/api/config": `"login":"imap"`, "/": "the webmail", "/pushes": "the webmail", "/api/config": "the webmail",
	} {
		resp, err := p.request(t.Context(), http.MethodGet, path, "")
		require.NoError(t, err)
		body := make([]byte, 1<<10)
		n, _ := resp.Body.Read(body)
		resp.Body.Close()
		assert.Equal(t, http.StatusOK, resp.StatusCode, path)
		assert.Contains(t, strings.ToLower(string(body[:n])), strings.ToLower(want), path)
	}
}

// Ten thousand wrong logins are refused and counted; few of them reach Dovecot,
// and mail goes on to be notified.
func TestLoginFlood(t *testing.T) {
	t.Parallel()
	const logins, clients = 10_000, 512
	f := startAPI(t, startMiddleware(t).addr)
	dovecot := startDovecot(t, dovecottest.V23, f.front, dovecottest.Config{Users: users(1), NoDebugLog: true, ExtraConfig: "auth_verbose = yes\n"}, f.url("http"))
	f.checkAt(t, dovecot)
	p := f.person(t)
	p.client.Transport.(*http.Transport).MaxIdleConnsPerHost = clients
	numbers := make(chan int)
	statuses := make(map[int]int)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for i := range numbers {
				status, _ := p.call(http.MethodPost, "/api/session", fmt.Sprintf(`{"username":"user0@example.com","password":"guess %d"}`, i))
				mu.Lock()
				statuses[status]++
				mu.Unlock()
			}
		})
	}
	for i := range logins {
		numbers <- i
		if i == logins/2 {
			f.untilTaken(t, 1)
		}
	}
	close(numbers)
	wg.Wait()
	t.Logf("statuses: %v", statuses)
	checked := strings.Count(dovecot.Log(), "Password mismatch")
	t.Logf("checked at Dovecot: %d", checked)
	assert.Less(t, checked, 200)
	assert.Equal(t, logins, statuses[http.StatusUnauthorized]+statuses[http.StatusTooManyRequests]+statuses[http.StatusServiceUnavailable])
	assert.NotContains(t, f.Log(), "guess ")

	metrics, err := f.Metrics()
	require.NoError(t, err)
	counted := 0
	for _, m := range regexp.MustCompile(`(?m)^caddy_dovecot_push_sign_ins_total\{result="(wrong|throttled|busy|unavailable)"\} (\d+)`).FindAllStringSubmatch(metrics, -1) {
		var n int
		_, err := fmt.Sscan(m[2], &n)
		require.NoError(t, err)
		counted += n
	}
	assert.Equal(t, logins, counted, metrics)
}

// Whatever authenticates people in Caddy can stand before the API.
func TestLoginCaddy(t *testing.T) {
	t.Parallel()
	f := startStreams(t)
	status, _ := newPerson(t, f.site, "").call(http.MethodGet, "/api/session", "")
	assert.Equal(t, http.StatusUnauthorized, status)
	status, session := f.alice(t).call(http.MethodGet, "/api/session", "")
	assert.Equal(t, http.StatusOK, status)
	assert.Equal(t, map[string]any{"user": "somebody@example.com", "expires": nil}, session)
	status, _ = f.alice(t).call(http.MethodPost, "/api/session", `{"username":"other@example.com","password":"x"}`)
	assert.Equal(t, http.StatusMethodNotAllowed, status)
}

// streams is a front whose API takes the word of Caddy's basic_auth, over plain
// HTTP, so that a reload takes little.
type streams struct {
	*caddytestkit.Caddy
	http, site, config string
}

func startStreams(t *testing.T) *streams {
	t.Helper()
	f := &streams{Caddy: caddytestkit.New(t, "NOTIFY_PASSWORD="+notifyPassword, "NATS_PASSWORD=nats-secret"), http: freeAddress(t)}
	f.site = "http://" + f.http + "/push"
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	require.NoError(t, err)
	f.config = strings.NewReplacer("ADDRESS", f.http, "HASH", string(hash)).Replace(`{
	dovecot_push
}
http://ADDRESS {
	dovecot_push_notify {
		allow private_ranges
		credentials dovecot {env.NOTIFY_PASSWORD}
	}
	basic_auth /push/* {
		somebody@example.com HASH
	}
	dovecot_push_api {
		login caddy
	}
}
`)
	require.NoError(t, f.Run(f.config), f.Log())
	return f
}

func (f *streams) alice(t testing.TB) *person {
	return newPerson(t, f.site, "").as("somebody@example.com", "secret")
}

// notify reports a mail with this number to somebody@example.com.
func (f *streams) notify(t testing.TB, number int) {
	t.Helper()
	taken(t, f.http, notification(uint32(number)))
}

// Whatever happens to Caddy, somebody who listens all the time gets each mail
// once: over a hundred reloads, and over a restart.
func TestStreamOverReloadsAndRestart(t *testing.T) {
	t.Parallel()
	const reloads = 100
	f := startStreams(t)
	l := f.alice(t).listen()
	l.connected(1)
	sent := 0
	send := func() {
		sent++
		f.notify(t, sent)
	}
	// Some while nothing happens, some while Caddy reloads, some while nobody
	// listens.
	for i := range reloads {
		send()
		done := make(chan error, 1)
		go func() {
			done <- f.Reload(strings.Replace(f.config, "dovecot_push_api {", fmt.Sprintf("header X-Reload %d\n\tdovecot_push_api {", i), 1))
		}()
		send()
		require.NoError(t, <-done, f.Log())
		send()
		l.connected(i + 2)
	}
	l.wait(sent)
	l.mu.Lock()
	opened := l.opened
	l.mu.Unlock()
	send()
	f.Stop()
	require.NoError(t, f.Run(f.config), f.Log())
	send()
	l.connected(opened + 1)
	f.Kill()
	require.NoError(t, f.Run(f.config), f.Log())
	send()
	send()
	l.wait(sent)
	l.stop()
	times := make(map[uint32]int)
	for _, m := range l.got() {
		times[m.UID]++
	}
	for i := range sent {
		assert.Equal(t, 1, times[uint32(i+1)], "mail %d", i+1)
	}
	assert.Zero(t, l.resets)
	assert.Empty(t, l.refused, "a browser would not come again")
}

// An open stream does not keep Caddy from ending.
func TestStreamEndsWithCaddy(t *testing.T) {
	t.Parallel()
	f := startStreams(t)
	var all []*listener
	for range 20 {
		l := f.alice(t).listen()
		l.connected(1)
		all = append(all, l)
	}
	require.Eventually(t, func() bool {
		metrics, err := f.Metrics()
		return err == nil && strings.Contains(metrics, "caddy_dovecot_push_streams_open 20")
	}, waitTimeout, 10*time.Millisecond)
	begin := time.Now()
	f.Stop() // which waits for half a minute before it uses force
	assert.Less(t, time.Since(begin), 25*time.Second)
	assert.NotContains(t, f.Log(), "panic")
	for _, l := range all {
		l.cancel()
	}
}

// Caddys that share a store give their streams what came to another one.
func TestStreamsOfCluster(t *testing.T) {
	t.Parallel()
	nats := startNATS(t)
	var all []*streams
	for range 2 {
		f := startStreams(t)
		queue := "queue nats nats://" + nats.address + " {\ndurability any\ncredentials nats {env.NATS_PASSWORD}\n}"
		f.config = strings.Replace(f.config, "dovecot_push\n}", "dovecot_push {\n"+queue+"\n}\n}", 1)
		require.NoError(t, f.Reload(f.config), f.Log())
		all = append(all, f)
	}
	here, there := all[0].alice(t).listen(), all[1].alice(t).listen()
	here.connected(1)
	there.connected(1)
	for i := range 10 {
		all[i%2].notify(t, i+1)
	}
	for _, l := range []*listener{here, there} {
		uids := make(map[uint32]bool)
		for _, m := range l.wait(10) {
			uids[m.UID] = true
		}
		assert.Len(t, uids, 10)
	}
}
