// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// closing is something that is closed, and opened again.
type closing struct {
	shut, open func(t *testing.T, in *installation)
	// away are what does not work meanwhile, of the services below, and failing
	// the targets whose attempts fail.
	away, failing []string
	// long is for what takes its time: it is not tried in a short attack.
	long bool
}

// through closes the way to something.
func through(way func(*installation) *relay, state relayState, away ...string) closing {
	return closing{
		shut: func(t *testing.T, in *installation) { require.NoError(t, way(in).become(state)) },
		open: func(t *testing.T, in *installation) { require.NoError(t, way(in).become(works)) },
		away: away,
		long: state == hangs || state == works,
	}
}

// fails says whose attempts fail meanwhile.
func (c closing) fails(target string) closing {
	c.failing = append(c.failing, target)
	return c
}

// failures counts the attempts of a target that were no delivery.
func (in *installation) failures(t *testing.T, target string) (n uint64) {
	t.Helper()
	for _, s := range in.status(t).Targets {
		for outcome, attempts := range s.Attempts {
			if s.Name == target && outcome != "delivered" {
				n += attempts
			}
		}
	}
	return n
}

// pushService answers in another way than a push service does.
func pushService(answer http.HandlerFunc) closing {
	return closing{
		shut:    func(_ *testing.T, in *installation) { in.push.Answer(answer) },
		open:    func(_ *testing.T, in *installation) { in.push.Answer(nil) },
		failing: []string{"webpush"},
	}
}

// apps makes a service of apps answer in another way than it does.
func apps(target string, service func(*installation, http.HandlerFunc), answer http.HandlerFunc) closing {
	return closing{
		shut:    func(_ *testing.T, in *installation) { service(in, answer) },
		open:    func(_ *testing.T, in *installation) { service(in, nil) },
		failing: []string{target},
	}
}

func apple(in *installation, answer http.HandlerFunc)  { in.apple.Answer(answer) }
func google(in *installation, answer http.HandlerFunc) { in.google.Answer(answer) }

// accessTokens are those that were given out, too.
func accessTokens(in *installation, answer http.HandlerFunc) {
	in.google.AnswerToken(answer)
	in.google.Forget()
}

// files limits how large a file may become that Caddy writes: nothing can be
// written with 0.
func files(t *testing.T, in *installation, most uint64) {
	t.Helper()
	limit := unix.Rlimit{Cur: most, Max: unix.RLIM_INFINITY}
	require.NoError(t, unix.Prlimit(in.PID(), unix.RLIMIT_FSIZE, &limit, nil))
}

var (
	toDoveAdm = func(in *installation) *relay { return in.toDoveAdm }
	toIMAP    = func(in *installation) *relay { return in.toIMAP }
	toHook    = func(in *installation) *relay { return in.toHook }
)

// closings are all that can be closed while Caddy runs. The connection to NATS
// in each of the ways it ends is in TestConnectionComesBack of package queue.
var closings = map[string]closing{
	"Dovecot stops": {
		shut: func(t *testing.T, in *installation) { require.NoError(t, in.dovecot.Stop()) },
		open: func(t *testing.T, in *installation) { require.NoError(t, in.dovecot.Restart(t.Context())) },
		away: []string{"a sign-in", "a registration"},
	},
	"DoveAdm refuses": through(toDoveAdm, refuses, "a registration"),
	"DoveAdm resets":  through(toDoveAdm, resets, "a registration"),
	"DoveAdm hangs":   through(toDoveAdm, hangs, "a registration"),
	"DoveAdm is cut":  through(toDoveAdm, works),
	"IMAP refuses":    through(toIMAP, refuses, "a sign-in"),
	"IMAP resets":     through(toIMAP, resets, "a sign-in"),
	"IMAP hangs":      through(toIMAP, hangs, "a sign-in"),
	"webhook refuses": through(toHook, refuses).fails("hook"),
	"webhook resets":  through(toHook, resets).fails("hook"),
	"webhook hangs":   through(toHook, hangs),
	"webhook is cut":  through(toHook, works),
	"push service is down": pushService(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}),
	"push service resets":    pushService(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
	"APNs is down":           apps("apns", apple, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }),
	"APNs resets":            apps("apns", apple, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
	"FCM is down":            apps("fcm", google, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }),
	"FCM resets":             apps("fcm", google, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
	"Google signs nobody in": apps("fcm", accessTokens, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }),
	"the queue cannot be written": {
		shut: func(t *testing.T, in *installation) { files(t, in, 0) },
		open: func(t *testing.T, in *installation) { files(t, in, unix.RLIM_INFINITY) },
		away: []string{"a notification"},
	},
}

// services are what has to work again. Each is tried until it does.
var services = map[string]func(h *healthyUser, n int) bool{
	"a notification": func(h *healthyUser, _ int) bool {
		uid := h.in.uids.next()
		taken := h.in.notify(h.client, notification(healthy, uid)).status == http.StatusOK
		if taken {
			h.accepted = append(h.accepted, uid)
		}
		return taken
	},
	"a sign-in": func(h *healthyUser, n int) bool {
		// A login that is known is not asked about: each comes from another source.
		client := http.Client{Transport: from(127, 0, 4, byte(n)), Timeout: patience}
		return h.in.api(&client, http.MethodGet, "session", "", basic(healthy, password)).status == http.StatusOK
	},
	"a registration": func(h *healthyUser, _ int) bool {
		return h.in.admin(http.MethodPut, "registrations/"+healthy, "").status == http.StatusOK
	},
}

// Whatever is closed, and opened again, everything works again afterwards,
// without a restart; what was accepted meanwhile comes out, and the reader of an
// event stream misses nothing.
func TestRestarts(t *testing.T) {
	t.Parallel()
	in := install(t, dovecottest.Config{NoDebugLog: true}, "")
	h := newHealthy(t, in)
	n := 0
	for name, c := range closings {
		if c.long && !isLong() {
			continue
		}
		t.Run(name, func(t *testing.T) {
			h := h.of(t)
			h.stream()
			before := make(map[string]uint64)
			for _, target := range c.failing {
				before[target] = in.failures(t, target)
			}
			c.shut(t, in)
			for _, service := range c.away {
				assert.Eventually(t, func() bool { n++; return !services[service](h, n) }, patience, 10*time.Millisecond, "%s fails meanwhile", service)
			}
			services["a notification"](h, 0) // which is stored, or refused
			for _, target := range c.failing {
				assert.Eventually(t, func() bool { return in.failures(t, target) > before[target] }, patience, 10*time.Millisecond, "%s fails meanwhile", target)
			}
			c.open(t, in)
			start := time.Now()
			for service, try := range services {
				require.Eventually(t, func() bool { n++; return try(h, n) }, patience, 20*time.Millisecond, service)
			}
			h.everythingCame()
			t.Logf("everything worked again after %v", time.Since(start))
		})
	}
}

// The same of a NATS server, which goes away, and of the way to it.
func TestRestartsOfNATS(t *testing.T) {
	t.Parallel()
	nats := &natsServer{dir: t.TempDir(), address: freeAddress(t)}
	nats.start(t)
	way := startRelay(t, nats.address)
	in := install(t, dovecottest.Config{NoDebugLog: true}, "", "queue embedded {\n\t\t\tsync 1s\n", "queue nats nats://"+way.address+" {\n\t\t\tdurability any\n")
	h := newHealthy(t, in)
	for name, change := range map[string]func(open bool){
		"the server stops": func(open bool) {
			if open {
				nats.start(t)
			} else {
				nats.stop()
			}
		},
		"the way refuses": func(open bool) {
			require.NoError(t, way.become(map[bool]relayState{true: works, false: refuses}[open]))
		},
		"the way hangs": func(open bool) { require.NoError(t, way.become(map[bool]relayState{true: works, false: hangs}[open])) },
	} {
		t.Run(name, func(t *testing.T) {
			h := h.of(t)
			h.stream()
			change(false)
			require.Eventually(t, func() bool { return !services["a notification"](h, 0) }, patience, 10*time.Millisecond, "nothing is promised that is not stored")
			change(true)
			start := time.Now()
			for service, try := range services {
				require.Eventually(t, func() bool { return try(h, 1) }, patience, 20*time.Millisecond, service)
			}
			h.everythingCame()
			t.Logf("everything worked again after %v", time.Since(start))
		})
	}
}

// of is the same user in another test.
func (h *healthyUser) of(t *testing.T) *healthyUser {
	t.Helper()
	same := *h
	same.t, same.accepted = t, nil
	return &same
}

// stream begins to follow the user's event stream, from now on, and reads on
// where it ended until the test does.
func (h *healthyUser) stream() {
	h.t.Helper()
	h.seen = make(chan int, 1000)
	connected := make(chan struct{}, 1)
	position := ""
	go func() {
		for h.t.Context().Err() == nil {
			position = h.read(h.t.Context(), position, func() {
				select {
				case connected <- struct{}{}:
				default:
				}
			})
			select {
			case <-time.After(50 * time.Millisecond):
			case <-h.t.Context().Done():
			}
		}
	}()
	select {
	case <-connected:
	case <-time.After(patience):
		require.FailNow(h.t, "there is no event stream")
	}
}

// read reads one event stream to its end, and returns the position.
func (h *healthyUser) read(ctx context.Context, position string, connected func()) string {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, h.in.url+"/push/api/events", http.NoBody)
	if err != nil {
		panic(err)
	}
	h.cookie(r)
	r.Header.Set("Last-Event-ID", position)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return position
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return position
	}
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "id":
			position = value
			connected()
		case "data":
			var uid int
			if _, after, ok := strings.Cut(value, `"uid":`); ok {
				_, _ = fmt.Sscan(after, &uid)
				h.seen <- uid
			}
		}
	}
	return position
}

// everythingCame requires that all that was accepted came to the webhook and
// to the event stream, and the newest to each device.
func (h *healthyUser) everythingCame() {
	h.t.Helper()
	for _, uid := range h.accepted {
		require.Eventually(h.t, func() bool { return h.in.hook.has(healthy, uid) }, patience, 10*time.Millisecond, "a mail at the webhook")
	}
	missing := make(map[int]bool)
	for _, uid := range h.accepted {
		missing[uid] = true
	}
	for timeout := time.After(patience); len(missing) > 0; {
		select {
		case uid := <-h.seen:
			delete(missing, uid)
		case <-timeout:
			require.FailNow(h.t, "events are missing", "%v", missing)
		}
	}
	newest := fmt.Sprintf(`"uid":%d,`, h.accepted[len(h.accepted)-1])
	for _, app := range h.apps {
		require.Eventually(h.t, func() bool {
			return slices.ContainsFunc(app.Wait(1), func(m pushtest.AppMessage) bool { return strings.Contains(string(m.Text), newest) })
		}, patience, 50*time.Millisecond, "a mail in an app of %s", app.Kind)
	}
	require.Eventually(h.t, func() bool {
		messages, err := h.phone.Messages()
		if err != nil {
			return false
		}
		for _, m := range messages {
			if strings.Contains(string(m.Plain), newest) {
				return true
			}
		}
		return false
	}, patience, 50*time.Millisecond, "a mail on a device")
}

// natsServer is a NATS server with JetStream, in this process.
type natsServer struct {
	dir, address string
	server       *server.Server
}

func (n *natsServer) start(t *testing.T) {
	t.Helper()
	host, port := splitAddress(t, n.address)
	s, err := server.NewServer(&server.Options{Host: host, Port: port, JetStream: true, StoreDir: n.dir, NoSigs: true, NoLog: true})
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(patience))
	n.server = s
	t.Cleanup(n.stop)
}

func (n *natsServer) stop() {
	n.server.Shutdown()
	n.server.WaitForShutdown()
}
