// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// catchUp sweeps all users.
func (f *front) catchUp(t *testing.T, args ...string) (sweep struct {
	Users, Behind, Failed, Found int
	LeftOut                      map[string]int `json:"left_out"`
},
) {
	t.Helper()
	if len(args) == 0 {
		args = []string{"--all"}
	}
	out, err := f.command(append([]string{"catch-up", "--json"}, args...)...)
	require.NoError(t, err, out)
	require.NoError(t, json.Unmarshal([]byte(out), &sweep), out)
	return sweep
}

// told counts what the middleware got, by user and subject.
func told(all []received) map[string]int {
	counts := make(map[string]int)
	for _, n := range all {
		counts[strings.TrimSuffix(n.User, "@example.com")+" "+n.Subject]++
	}
	return counts
}

// awaitRegistered waits until all users are registered, and their mailboxes were
// looked at.
func (f *front) awaitRegistered(t *testing.T, users int) {
	t.Helper()
	requireReach(t, users, f.registered, 50*time.Millisecond)
	require.Equal(t, users, f.registered())
	require.Equal(t, users, f.catchUp(t).Users)
}

// registered is how many users were registered since Caddy started.
func (f *front) registered() int {
	return f.metric(`caddy_dovecot_push_registration_changes_total{change="registered"}`)
}

// awaitAcknowledged waits until nothing waits for a target. What is on its way when
// Caddy is killed comes twice.
func (f *front) awaitAcknowledged(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		metrics, err := f.Metrics()
		return err == nil && strings.Contains(metrics, "caddy_dovecot_push_queue_notifications 0\n")
	}, waitTimeout, 50*time.Millisecond)
}

// eachWay runs a test on every Dovecot, over both ways.
func eachWay(t *testing.T, test func(t *testing.T, version dovecottest.Version, way registrar)) {
	t.Helper()
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		for _, way := range registrars {
			t.Run(way.name, func(t *testing.T) {
				t.Parallel()
				test(t, version, way)
			})
		}
	})
}

// Caddy is down while mails are delivered. After its start each of them is told
// once that is still to be told, and none twice, however often it starts.
func TestCatchUp(t *testing.T) {
	eachWay(t, func(t *testing.T, version dovecottest.Version, way registrar) {
		const count = 6
		names := make([]string, count)
		f, dovecot, ox := startRegistering(t, dovecottest.Config{Version: version, Users: users(count)}, way, "")
		for i, user := range users(count) {
			names[i] = user.Name
			deliver(t, dovecot, "before", user.Name) // nobody is registered
		}
		out, err := f.command(append([]string{"register"}, names...)...)
		require.NoError(t, err, out)
		f.awaitRegistered(t, count)
		deliver(t, dovecot, "odd =?utf-8?Q?=E2=82=AC?= \"subject\"\r\n\tfolded", names[0])
		ox.wait(1)

		f.awaitAcknowledged(t)
		f.Kill()
		deliver(t, dovecot, "odd =?utf-8?Q?=E2=82=AC?= \"subject\"\r\n\tfolded", names[0])
		for _, subject := range []string{"read", "expunged", "left"} {
			deliver(t, dovecot, subject, names[1])
		}
		mustDoveadm(t, dovecot, "flags", "add", "-u", names[1], `\Seen`, "mailbox", "INBOX", "subject", "read")
		mustDoveadm(t, dovecot, "expunge", "-u", names[1], "mailbox", "INBOX", "subject", "expunged")
		deliver(t, dovecot, "one", names[2], names[3])
		deliver(t, dovecot, "two", names[2])
		// What a client appends has no Received field.
		require.NoError(t, dovecot.Save(names[3], message("appended")))
		// The INBOX that was created again starts with its current mails.
		mustDoveadm(t, dovecot, "mailbox", "delete", "-u", names[4], "INBOX")
		deliver(t, dovecot, "in the new one", names[4])
		f.start(t)

		want := map[string]int{"user1 left": 1, "user2 one": 1, "user2 two": 1, "user3 one": 1}
		all := ox.wait(2 + len(want))
		// It is what Dovecot would have sent, but for what is another mail's.
		var same []string
		for _, body := range ox.got() {
			if bytes.Contains(body, []byte(names[0])) {
				same = append(same, ownNumbers.ReplaceAllString(string(body), "$1:0"))
			}
		}
		require.Len(t, same, 2)
		if way.name == "imap" { // which has no beginning of the text
			same[0] = strings.Replace(same[0], `"snippet":"Hello."`, `"snippet":""`, 1)
		}
		assert.Equal(t, same[0], same[1])
		got := told(all)
		maps.DeleteFunc(got, func(key string, _ int) bool { return strings.HasPrefix(key, "user0") })
		assert.Equal(t, want, got)

		for range 2 {
			sweep := f.catchUp(t)
			assert.Zero(t, sweep.Found)
			assert.Zero(t, sweep.Behind)
			assert.Equal(t, count, sweep.Users)
			f.awaitAcknowledged(t)
			f.Kill()
			f.start(t)
		}
		sweep := f.catchUp(t)
		assert.Zero(t, sweep.Found)
		deliver(t, dovecot, "reported", names[5])
		ox.wait(2 + len(want) + 1)
		metrics, err := f.Metrics()
		require.NoError(t, err)
		assert.NotContains(t, metrics+f.Log(), "user0")
	})
}

// Every target can tell what was found from what Dovecot reported, except the
// middleware, which gets what Dovecot would have sent.
func TestCatchUpSource(t *testing.T) {
	t.Parallel()
	const user = "user0@example.com"
	service, h := pushtest.Start(t), startHook(t)
	f := &withAPI{newFront(t, startMiddleware(t).addr), freeAddress(t)}
	dovecot := dovecottest.Start(t, dovecottest.Config{
		Users: users(1), ExtraConfig: patient(dovecottest.V23),
		Drivers: []dovecottest.Driver{{URL: f.url("http"), Timeout: 10 * time.Second, MaxAttempts: 2}},
	})
	f.config = strings.Replace(f.config, "dovecot_push {\n", "dovecot_push {\ndeliver webhook hook "+h.URL+" {\ncontent sender\n}\n", 1)
	f.deliverToDevices(t, dovecot, service)
	p := f.person(t)
	require.Equal(t, http.StatusOK, p.signIn(user, "pass"))
	stream := p.listen()
	stream.connected(1)
	phone, _ := p.subscribe(service)
	require.Eventually(t, func() bool { return valueIn(t, dovecot, user) != "" }, waitTimeout, 50*time.Millisecond)
	f.catchUp(t)
	for i, want := range []string{"", "catch_up"} {
		if want != "" {
			require.NoError(t, dovecot.Unregister(user)) // so that it is not reported
		}
		deliver(t, dovecot, "mail from "+want, user)
		if want != "" {
			assert.Equal(t, 1, f.catchUp(t).Found)
		}
		assert.Equal(t, want, stream.wait(i + 1)[i].Source, "event stream")
		assert.Equal(t, want, mailOf(t, phone.Wait(i + 2)[i+1]).Source, "Web Push")
		require.Eventually(t, func() bool { return h.count() > i }, waitTimeout, 5*time.Millisecond)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	assert.Equal(t, map[string]bool{"": true, "catch_up": true}, h.sources, "webhook")
}

// ownNumbers are those in which notifications of two mails differ.
var ownNumbers = regexp.MustCompile(`("imap-uid"|"unseen"):[0-9]+`)

func mustDoveadm(t *testing.T, dovecot *dovecottest.Server, args ...string) {
	t.Helper()
	out, err := dovecot.Doveadm(args...)
	require.NoError(t, err, out)
}

// hook is a webhook's receiver that tells deliveries from acceptances: what is
// delivered again was accepted at the same time.
type hook struct {
	*httptest.Server
	mu      sync.Mutex
	got     map[string]map[string]bool // by user and subject: when they were accepted
	at      map[string]time.Time       // when they came first
	sources map[string]bool
}

func startHook(t *testing.T) *hook {
	t.Helper()
	h := &hook{got: make(map[string]map[string]bool), at: make(map[string]time.Time), sources: make(map[string]bool)}
	h.Server = httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var mail struct {
			Timestamp string
			Data      struct{ User, Subject, Source string }
		}
		if json.NewDecoder(r.Body).Decode(&mail) != nil {
			return
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		key := mail.Data.User + " " + mail.Data.Subject
		if h.got[key] == nil {
			h.got[key], h.at[key] = make(map[string]bool), time.Now()
		}
		h.got[key][mail.Timestamp] = true
		h.sources[mail.Data.Source] = true
	}))
	t.Cleanup(h.Close)
	return h
}

// count is how many mails came.
func (h *hook) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.got)
}

// requireOnce waits until all mails came, and requires that each was accepted
// once.
func (h *hook) requireOnce(t *testing.T, mails int) {
	t.Helper()
	requireReach(t, mails, h.count, 50*time.Millisecond)
	h.mu.Lock()
	defer h.mu.Unlock()
	assert.Len(t, h.got, mails)
	for mail, times := range h.got {
		assert.Len(t, times, 1, "%s was accepted several times", mail)
	}
}

// toHook makes a Caddy that registers users over one way, and delivers to a hook.
func toHook(t *testing.T, h *hook, way registrar, dovecot func(f *front) *dovecottest.Server, replacements ...string) *front {
	t.Helper()
	f := newFront(t, "127.0.0.1:1", replacements...)
	middleware := regexp.MustCompile(`(?ms)^\t\tdeliver middleware .*?^\t\t\}\n`)
	f.config = middleware.ReplaceAllLiteralString(f.config, "deliver webhook hook "+h.URL+" {\ncontent sender\n}\n")
	d := dovecot(f)
	f.Setenv(way.env(d))
	f.config = strings.Replace(f.config, "dovecot_push {\n", "dovecot_push {\n"+way.block(d), 1)
	return f
}

// startToHook starts a Dovecot and a Caddy to which it reports, which delivers to
// a hook. All users are registered.
func startToHook(t *testing.T, version dovecottest.Version, way registrar, count int) (*front, *dovecottest.Server, *hook, []string) {
	t.Helper()
	h := startHook(t)
	var dovecot *dovecottest.Server
	f := toHook(t, h, way, func(f *front) *dovecottest.Server {
		dovecot = dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: users(count), NoDebugLog: true, Master: master, IMAPMetadata: true, NoFailureDelay: true,
			Drivers: []dovecottest.Driver{{URL: f.url("http"), Timeout: 10 * time.Second, MaxAttempts: 2}},
		})
		return dovecot
	})
	f.start(t)
	names := f.registerAll(t, count)
	return f, dovecot, h, names
}

// registerAll registers the users by hand, and returns their names.
func (f *front) registerAll(t *testing.T, count int) (names []string) {
	t.Helper()
	for _, user := range users(count) {
		names = append(names, user.Name)
	}
	requireReach(t, count, func() int {
		if f.registered() < count { // the queue was not open yet, or Dovecot was too slow
			_, _ = f.command(append([]string{"register"}, names...)...)
		}
		return f.registered()
	}, 50*time.Millisecond)
	f.awaitRegistered(t, count)
	return names
}

// found is how many notifications were found since Caddy started.
func (f *front) found() int { return f.metric("caddy_dovecot_push_catch_up_found_total") }

// metric is the value of a metric, or -1.
func (f *front) metric(name string) (n int) {
	metrics, err := f.Metrics()
	if err != nil {
		return -1
	}
	m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\d+)$`).FindStringSubmatch(metrics)
	if m == nil {
		return -1
	}
	n, _ = strconv.Atoi(m[1])
	return n
}

// Caddy is killed again and again in the middle of its sweep. Each mail is told,
// and none was accepted twice.
func TestCatchUpKilled(t *testing.T) {
	someWays(t, func(t *testing.T, version dovecottest.Version, way registrar) {
		const count, each = 10, 2
		f, dovecot, h, names := startToHook(t, version, way, count)
		f.Kill()
		// Who comes last in a sweep has all mails of all rounds to be told.
		f.config = strings.Replace(f.config, "dovecot_push {\n", "dovecot_push {\ncatch_up {\nmax 1000\n}\n", 1)
		mails := 0
		for round := range sized(4, 50) {
			for i := range each {
				deliverEach(t, dovecot, fmt.Sprintf("mail %d of round %d", i, round), names)
				mails += count
			}
			f.start(t)
			until := rand.N(count * each)
			require.Eventually(t, func() bool { return f.found() >= until }, waitTimeout, time.Millisecond)
			f.Kill()
		}
		f.start(t)
		h.requireOnce(t, mails)
		assert.Equal(t, map[string]bool{"catch_up": true}, h.sources)
		assert.Zero(t, f.catchUp(t).Found)
	})
}

// Of two Caddys with one store one sweeps. It is killed in the middle, and the
// other one does the rest; no mail is told twice.
func TestCatchUpOfTwo(t *testing.T) {
	t.Parallel()
	const count, each = 10, 3
	var servers []string
	for _, n := range startNATSCluster(t) {
		servers = append(servers, "nats://"+n.address)
	}
	h := startHook(t)
	var dovecot *dovecottest.Server
	start := func(f *front) *dovecottest.Server {
		if dovecot == nil {
			dovecot = dovecottest.Start(t, dovecottest.Config{Users: users(count), NoDebugLog: true, Drivers: []dovecottest.Driver{{URL: f.url("http"), MaxAttempts: 1}}})
		}
		return dovecot
	}
	var fronts []*front
	for range 2 {
		f := toHook(t, h, registrars[0], start, "queue embedded {", "queue nats "+strings.Join(servers, " ")+" {\nreplicas 3\ncredentials nats {env.NATS_PASSWORD}")
		f.Setenv("NATS_PASSWORD=nats-secret")
		fronts = append(fronts, f)
	}
	one, other := fronts[0], fronts[1]
	one.start(t)
	names := one.registerAll(t, count)
	other.start(t)
	out, err := other.command("catch-up", "--all")
	require.Error(t, err)
	assert.Contains(t, out, "another Caddy that shares the queue")
	for _, user := range names {
		require.NoError(t, dovecot.Unregister(user)) // so that nothing is reported
	}
	for i := range each {
		deliverEach(t, dovecot, fmt.Sprint("mail ", i), names)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = one.command("catch-up", "--all") // it is killed
	}()
	require.Eventually(t, func() bool { return one.found() > 0 }, waitTimeout, time.Millisecond)
	one.Kill()
	<-done
	h.requireOnce(t, count*each)
	require.Eventually(t, func() bool { return strings.Contains(mustMetrics(t, other), "catch_up_leads 1\n") }, waitTimeout, 50*time.Millisecond)
	one.start(t)
	assert.Zero(t, other.catchUp(t).Found)
	h.requireOnce(t, count*each)
}

func mustMetrics(t *testing.T, f *front) string {
	t.Helper()
	metrics, err := f.Metrics()
	require.NoError(t, err)
	return metrics
}

// deliverEach delivers a mail to each user, in a session of its own: where the
// endpoint is away, some Dovecots wait longer with each mail of a session.
func deliverEach(t *testing.T, dovecot *dovecottest.Server, subject string, to []string) {
	t.Helper()
	for _, user := range to {
		deliver(t, dovecot, subject, user)
	}
}

// What was refused because the queue was full is told when there is room again,
// and what was missed while a mail server had a wrong password, when it has the
// right one.
func TestCatchUpAfterOutages(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		t.Parallel()
		const user = "user0@example.com"
		f, dovecot, ox := startRegistering(t, dovecottest.Config{Version: version, Users: users(2)}, registrars[0], "register all")
		f.awaitRegistered(t, 2)

		// The queue is full.
		full := strings.Replace(f.config, "queue embedded {\n", "queue embedded {\nmax_bytes 16KiB\n", 1)
		require.NotEqual(t, full, f.config)
		require.NoError(t, f.Reload(full))
		ox.down()
		mails := 0
		for ; strings.Contains(mustMetrics(t, f), `notify_requests_total{result="queue_full"} 0`); mails++ {
			require.Less(t, mails, 500)
			deliver(t, dovecot, fmt.Sprint("mail ", mails), user)
		}
		deliver(t, dovecot, "another one", "user1@example.com")
		ox.up()
		for uid := uint32(1); f.send(t, uid) != http.StatusOK; uid++ {
			time.Sleep(10 * time.Millisecond)
		}
		writable := time.Now()
		ox.wait(mails + 2)
		soon(t, "those refused while the queue was full were told", writable, 10*time.Second)

		// A wrong password, then the right one.
		require.NoError(t, dovecot.Unregister(user))
		deliver(t, dovecot, "missed", user)
		require.NoError(t, dovecot.Register(user))
		r, err := http.NewRequest(http.MethodPut, "http://"+f.http+notifyPath, strings.NewReader("{}"))
		require.NoError(t, err)
		r.SetBasicAuth(notifyUser, "wrong")
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		deliver(t, dovecot, "reported", user)
		reported := time.Now()
		ox.wait(mails + 4)
		soon(t, "what was missed with a wrong password was told", reported, 10*time.Second)
		got := told(decode(t, ox.got()))
		for mail, n := range got {
			assert.Equal(t, 1, n, mail)
		}
		assert.Equal(t, 1, got["user0 missed"])
	})
}
