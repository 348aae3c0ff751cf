// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inspected waits for the first inspection for which ok holds.
func inspected(t *testing.T, q *Queue, ok func(*Inspection) bool) *Inspection {
	t.Helper()
	var i *Inspection
	require.Eventually(t, func() bool { i = q.Inspect(); return i != nil && ok(i) }, patience, 10*time.Millisecond, "%+v", i)
	return i
}

func anyInspection(*Inspection) bool { return true }

func withConfig(t *testing.T, config string) *natsProcess {
	t.Helper()
	p := newNATSServer(t)
	file := filepath.Join(p.dir, "nats.conf")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	p.options = []string{"-c", file}
	return p
}

// What 200 means is found out, and demanded.
func TestDurability(t *testing.T) {
	t.Parallel()
	monitoring := freeAddr(t)
	lazy := newNATSServer(t, "-m", portOf(monitoring))
	require.NoError(t, lazy.start())
	system := withConfig(t, `
		jetstream { sync_interval: always }
		accounts {
			SYS { users: [{ user: sys, password: sys }], exports: [{ service: "$SYS.REQ.SERVER.PING.JSZ", response: stream }] }
			PUSH { jetstream: enabled, users: [{ user: push, password: secret }], imports: [{ service: { account: SYS, subject: "$SYS.REQ.SERVER.PING.JSZ" } }] }
		}
		system_account: SYS`)
	require.NoError(t, system.start())
	asUser := func(e *External) { e.User, e.Password = "push", "secret" }
	for name, test := range map[string]struct {
		server *natsProcess
		set    func(*External)
		is     Durability
		fails  bool
	}{
		"one server":                  {lazy, func(*External) {}, Unknown, true},
		"its sync_interval is stated": {lazy, func(e *External) { e.SyncInterval = 2 * time.Minute }, InMemory, true},
		"it is asked": {lazy, func(e *External) {
			e.Monitoring = []string{"http://" + monitoring}
		}, InMemory, true},
		"it cannot be asked": {lazy, func(e *External) { e.Monitoring = []string{"http://127.0.0.1:1"} }, Unknown, true},
		"nothing is demanded": {lazy, func(e *External) {
			e.Durability = AnyDurability
		}, Unknown, false},
		"it is said to sync always": {lazy, func(e *External) {
			e.Durability, e.SyncInterval = OnDisk, SyncAlways
		}, OnDisk, false},
		"$SYS says that it does": {system, asUser, OnDisk, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := storeOn(t, test.server)
			s.config.External.Durability = "" // the default
			s.config.Prefix = "test_" + strings.Map(func(r rune) rune {
				if r < 'a' || r > 'z' {
					return -1
				}
				return r
			}, name)
			test.set(s.config.External)
			q := s.open(t, "a")
			i := inspected(t, q, anyInspection)
			assert.Equal(t, test.is, i.Durability, i.Reason)
			if !test.fails {
				acceptSoon(t, q, numbered(0))
				return
			}
			stalled := stalls(t)
			began := time.Now()
			_, err := q.Accept(t.Context(), numbered(0), time.Minute)
			require.ErrorIs(t, err, ErrUnavailable)
			require.ErrorIs(t, err, ErrDurability)
			require.ErrorContains(t, err, "durability replicas is demanded")
			assert.Less(t, time.Since(began), holdTime+stalled(), "nobody waits for it")
			assert.Contains(t, strings.Join(i.Problems, "\n"), "durability replicas is demanded")
		})
	}
}

// The permissions of the example are enough for everything, and its servers
// sync before they answer.
func TestExampleOfCluster(t *testing.T) {
	t.Setenv("PUSH_PASSWORD", "secret")
	t.Setenv("ROUTE_PASSWORD", "route")
	example, err := os.ReadFile("../../examples/nats-cluster/nats.conf")
	require.NoError(t, err)
	config := filepath.Join(t.TempDir(), "nats.conf")
	here := strings.Replace(string(example), "store_dir: /var/lib/nats\n", "", 1) // each server has its own
	require.NotEqual(t, string(example), here)
	require.NoError(t, os.WriteFile(config, []byte(here), 0o600))
	var routes, monitoring []string
	for range 3 {
		routes = append(routes, "nats://route:route@"+freeAddr(t))
		monitoring = append(monitoring, "http://"+freeAddr(t))
	}
	var servers []*natsProcess
	for i, name := range []string{"n1", "n2", "n3"} {
		t.Setenv("NATS_NAME", name)
		p := newNATSServer(t, "-c", config, "--cluster", routes[i], "--routes", strings.Join(routes, ","), "-m", portOf(strings.TrimPrefix(monitoring[i], "http://")))
		require.NoError(t, p.start())
		servers = append(servers, p)
	}
	s := storeOn(t, servers...)
	e := s.config.External
	e.User, e.Password, e.Durability, e.Monitoring = "push", "secret", OnDisk, monitoring
	q := s.open(t, "a")
	i := inspected(t, q, func(i *Inspection) bool { return i.Durability == OnDisk && len(i.Problems) == 0 })
	assert.Equal(t, 3, i.Replicas, "as many as there are servers")
	acceptSoon(t, q, numbered(0))
	g := next(t, q.NewReader("a"))
	require.NoError(t, q.Park(t.Context(), "a", Parked{Records: g.Records, Due: time.Now()}))
	require.NoError(t, g.Ack())
	g = next(t, q.NewParkedReader("a"))
	require.NoError(t, q.DeadLetter(t.Context(), "a", &g.Records[0], "test"))
	require.NoError(t, g.Ack())
	for letter, err := range q.DeadLetters(t.Context(), DeadLetterFilter{}) {
		require.NoError(t, err)
		require.NoError(t, q.DeleteDeadLetter(t.Context(), letter.Number))
	}
	table := q.Table("t")
	_, err = table.Put(t.Context(), Key{"key"}, []byte("value"))
	require.NoError(t, err)
	_, err = table.Get(t.Context(), Key{"key"})
	require.NoError(t, err)
	for _, err := range table.All(t.Context(), nil) {
		require.NoError(t, err)
	}
	require.NoError(t, table.Delete(t.Context(), Key{"key"}, 0))
	require.NoError(t, q.Log("l", LogLimits{Age: time.Hour, Bytes: 1 << 20}).Append(t.Context(), []byte("entry")))
	q.cleanUpUnused(true)
	require.Empty(t, q.denied.list())
	requireStats(t, q, 0, map[string]TargetStats{"a": {}})
}

// What the account may not do is named, each permission on its own.
func TestDeniedPermissions(t *testing.T) {
	t.Parallel()
	publish := []string{"dovecot_push.>", "$KV.>", "$JS.API.>", "$JS.ACK.>", "$JS.FC.>"}
	var users []string
	for i := range publish {
		var rest []string
		for j, p := range publish {
			if j != i {
				rest = append(rest, `"`+p+`"`)
			}
		}
		users = append(users, `{ user: "`+publish[i]+`", password: secret, permissions: { publish: [`+strings.Join(rest, ",")+`], subscribe: ["_INBOX.>"] } }`)
	}
	users = append(users,
		`{ user: fine, password: secret, permissions: { publish: ["`+strings.Join(publish, `","`)+`"], subscribe: ["_INBOX.>"] } }`,
		`{ user: deaf, password: secret, permissions: { publish: ["`+strings.Join(publish, `","`)+`"], subscribe: ["nothing"] } }`,
		`{ user: purge, password: secret, permissions: { publish: { deny: ["$JS.API.STREAM.PURGE.>"] } } }`,
		`{ user: delete, password: secret, permissions: { publish: { deny: ["$JS.API.STREAM.MSG.DELETE.>"] } } }`)
	server := withConfig(t, "jetstream { sync_interval: always }\nmax_payload: 7MB\nauthorization { users: ["+strings.Join(users, "\n")+"] }")
	require.NoError(t, server.start())
	open := func(t *testing.T, user string) *Queue {
		s := storeOn(t, server)
		s.config.External.User, s.config.External.Password = user, "secret"
		return s.open(t, "a")
	}
	inspected(t, open(t, "fine"), func(i *Inspection) bool { return len(i.Problems) == 0 }) // it also makes the streams
	for user, denied := range map[string]string{
		"dovecot_push.>": "may not publish to dovecot_push.>", "$KV.>": "may not publish to $KV.>",
		"$JS.ACK.>": "may not publish to $JS.ACK.>", "$JS.FC.>": "may not publish to $JS.FC.>",
		"purge": "may not publish to $JS.API.STREAM.PURGE.>", "delete": "may not publish to $JS.API.STREAM.MSG.DELETE.>",
	} {
		t.Run(user, func(t *testing.T) {
			i := inspected(t, open(t, user), anyInspection)
			assert.Contains(t, strings.Join(i.Problems, "\n"), denied)
			if user == "$JS.ACK.>" {
				assert.Contains(t, strings.Join(i.Problems, "\n"), "acknowledgement does not arrive")
			}
		})
	}
	for user, denied := range map[string]string{"$JS.API.>": "publish to $JS.API.STREAM.INFO.>", "deaf": "subscribe to _INBOX.>"} {
		t.Run(user, func(t *testing.T) {
			q := open(t, user)
			require.Eventually(t, func() bool { return strings.Contains(strings.Join(q.denied.list(), " "), denied) }, patience, 10*time.Millisecond)
			_, err := q.Accept(t.Context(), numbered(0), time.Minute)
			require.ErrorIs(t, err, ErrUnavailable)
		})
	}
}

// Servers that promise too little are asked now and then, not all the time.
func TestInspectionRests(t *testing.T) {
	t.Parallel()
	s := externalStore(t)
	s.config.External.Durability, s.config.External.SyncInterval = OnDisk, time.Minute
	q := s.open(t, "a")
	first := inspected(t, q, anyInspection)
	next := inspected(t, q, func(i *Inspection) bool { return i != first })
	assert.GreaterOrEqual(t, next.Checked.Sub(first.Checked), inspectSoon)
}

// A stream that an operator gave more replicas keeps them.
func TestAutomaticReplicasLowerNothing(t *testing.T) {
	t.Parallel()
	servers := newNATSCluster(t, 3)
	s := storeOn(t, servers...)
	s.config.External.Durability = ""
	s.config.External.Replicas = 3
	q := s.open(t, "a")
	inspected(t, q, func(i *Inspection) bool { return i.Replicas == 3 })
	q.settings.External.Replicas = 0
	cfg := jetstream.StreamConfig{Name: q.names.deadStream, Subjects: []string{q.names.dead + ".*"}, Storage: jetstream.FileStorage, Replicas: 1}
	require.NoError(t, q.ensureStream(t.Context(), cfg))
	stream, err := q.js().Stream(t.Context(), q.names.deadStream)
	require.NoError(t, err)
	assert.Equal(t, 3, stream.CachedInfo().Config.Replicas)
}

// A server without JetStream is distinguished from one that is away.
func TestJetStreamOff(t *testing.T) {
	t.Parallel()
	server := withConfig(t, `
		accounts { PUSH { users: [{ user: push, password: secret }] }, OTHER { jetstream: enabled, users: [{ user: other, password: secret }] } }`)
	require.NoError(t, server.start())
	s := storeOn(t, server)
	s.config.External.User, s.config.External.Password = "push", "secret"
	q := s.open(t, "a")
	require.Eventually(t, func() bool {
		err := q.resume()
		return err != nil && strings.Contains(err.Error(), "JetStream is off")
	}, patience, 10*time.Millisecond)
}

func portOf(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
