// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// ourMark is what tells the entries that are ours.
const ourMark = "\tby=caddy-dovecot-push"

// registrar configures how users are registered.
type registrar struct {
	name string
	// block is for the app, env for Caddy.
	block func(d *dovecottest.Server) string
	env   func(d *dovecottest.Server) string
}

var master = dovecottest.User{Name: "boss", Password: "boss-secret"}

var registrars = []registrar{
	{
		"doveadm",
		func(d *dovecottest.Server) string {
			return "doveadm " + d.DoveAdmURL() + " {\napi_secret {env.API_SECRET}\n}\n"
		},
		func(d *dovecottest.Server) string { return "API_SECRET=" + d.APIKey() },
	},
	{
		"imap",
		func(d *dovecottest.Server) string {
			return "imap imap://" + d.IMAPAddr() + " {\nmaster_user " + master.Name + " {env.MASTER_PASSWORD}\n}\n"
		},
		func(*dovecottest.Server) string { return "MASTER_PASSWORD=" + master.Password },
	},
}

// startRegistering starts a Dovecot that reports to a Caddy, which registers its
// users and delivers to the middleware.
func startRegistering(t *testing.T, cfg dovecottest.Config, r registrar, register string) (*front, *dovecottest.Server, *middleware) {
	t.Helper()
	ox := startMiddleware(t)
	f := newFront(t, ox.addr)
	cfg.Master, cfg.IMAPMetadata, cfg.NoFailureDelay = master, true, true
	cfg.Drivers = []dovecottest.Driver{{URL: f.url("http"), Timeout: 10 * time.Second, MaxAttempts: 2}}
	dovecot := dovecottest.Start(t, cfg)
	f.Setenv(r.env(dovecot))
	f.config = strings.Replace(f.config, "dovecot_push {\n", "dovecot_push {\n"+r.block(dovecot)+register+"\n", 1)
	f.start(t)
	return f, dovecot, ox
}

// command runs caddy dovecot-push.
func (f *front) command(args ...string) (string, error) {
	return f.Command(append([]string{"dovecot-push", "--address", f.Admin}, args...)...)
}

func valueIn(t *testing.T, dovecot *dovecottest.Server, user string) string {
	t.Helper()
	out, err := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", user, "", dovecottest.MetadataKey)
	require.NoError(t, err)
	return strings.TrimSuffix(out, "\n")
}

// With "register all" everybody's mail arrives, by either way.
func TestRegisterAll(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		f, dovecot, ox := startRegistering(t, dovecottest.Config{Version: version, Users: users(3)}, registrars[0], "register all")
		for _, user := range users(3) {
			require.Eventually(t, func() bool { return valueIn(t, dovecot, user.Name) == "user="+user.Name+ourMark }, waitTimeout, 50*time.Millisecond)
			deliver(t, dovecot, "Hello", user.Name)
		}
		ox.wait(3)
		var metrics string
		require.Eventually(t, func() bool { // an entry is counted after it was set
			var err error
			metrics, err = f.Metrics()
			return err == nil && strings.Contains(metrics, `caddy_dovecot_push_registration_changes_total{change="registered"} 3`)
		}, waitTimeout, 50*time.Millisecond)
		assert.Contains(t, metrics, `caddy_dovecot_push_registration_up 1`)
		assert.NotContains(t, metrics, "user0")
		assert.NotContains(t, f.Log(), "user0")
	})
}

// One user, registered and unregistered with the command: a mail arrives in
// between, and no other.
func TestRegisterCommand(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		for _, r := range registrars {
			t.Run(r.name, func(t *testing.T) {
				const user = "user0@example.com"
				f, dovecot, ox := startRegistering(t, dovecottest.Config{Version: version, Users: users(2)}, r, "")
				deliver(t, dovecot, "before", user)
				out, err := f.command("register", user)
				require.NoError(t, err, out)
				assert.Contains(t, out, user+": registered\n")
				deliver(t, dovecot, "between", user)
				assert.Equal(t, "between", ox.wait(1)[0].Subject)

				out, err = f.command("registrations", user, "--json")
				require.NoError(t, err, out)
				var list []struct {
					User, State, Value string
					ByHand             string `json:"by_hand"`
					Ours               bool
				}
				require.NoError(t, json.Unmarshal([]byte(out), &list), out)
				require.Len(t, list, 1)
				assert.Equal(t, "registered", list[0].State)
				assert.Equal(t, "registered", list[0].ByHand)
				assert.Equal(t, "user="+user+ourMark, list[0].Value)
				assert.True(t, list[0].Ours)

				out, err = f.command("unregister", user)
				require.NoError(t, err, out)
				assert.Contains(t, out, user+": unregistered\n")
				deliver(t, dovecot, "after", user)
				assert.Len(t, ox.got(), 1)
				assert.NotContains(t, dovecot.Log(), "Error when sending notification")

				// Some of them fail.
				out, err = f.command("register", user, "nobody@example.com", "user1@example.com")
				require.Error(t, err)
				assert.Contains(t, out, "nobody@example.com: the user is not known to Dovecot\n")
				assert.Contains(t, out, "user1@example.com: registered\n")
				assert.Contains(t, out, "1 of 3 users failed")
				out, err = f.command("registrations", "--all")
				require.Error(t, err)
				for _, want := range []string{user + " ", "registered by hand", "nobody@example.com", "unknown_user"} {
					assert.Contains(t, out, want)
				}

				// The value of somebody else.
				require.NoError(t, dovecot.RegisterValue(user, "user=17@4"))
				out, err = f.command("register", user)
				require.Error(t, err)
				assert.Contains(t, out, "takeover")
				assert.Equal(t, "user=17@4", valueIn(t, dovecot, user))
				out, err = f.command("register", user, "--takeover", "--json")
				require.NoError(t, err, out)
				assert.Equal(t, "user="+user+ourMark, valueIn(t, dovecot, user))

				if r.name == "doveadm" {
					out, err = f.command("register", "--all")
					require.NoError(t, err, out)
					assert.Contains(t, out, "register: 2 users")
				} else {
					out, err = f.command("register", "--all")
					require.Error(t, err)
					assert.Contains(t, out, "cannot be listed")
				}
				out, err = f.command("unregister", "--all")
				require.NoError(t, err, out)
				assert.Empty(t, valueIn(t, dovecot, user))

				out, err = f.command("register")
				require.Error(t, err)
				assert.Contains(t, out, "give users, or --all")
			})
		}
	})
}

// Each thing that can be wrong has a message of its own.
func TestRegistrationMistakes(t *testing.T) {
	t.Parallel()
	const user = "user0@example.com"
	for _, r := range registrars {
		t.Run(r.name, func(t *testing.T) {
			t.Run("secret", func(t *testing.T) {
				wrong := r
				wrong.env = func(d *dovecottest.Server) string {
					name, _, _ := strings.Cut(r.env(d), "=")
					return name + "=wrong-secret"
				}
				f, _, _ := startRegistering(t, dovecottest.Config{Users: users(1)}, wrong, "register on_subscribe")
				out, err := f.command("register", user)
				require.Error(t, err)
				assert.Contains(t, out, "the credentials are not accepted by Dovecot")
				assert.NotContains(t, out+f.Log(), "wrong-secret")
				assert.Contains(t, f.Log(), "registration is paused until Dovecot accepts the credentials")
				assert.Equal(t, http.StatusBadGateway, f.adminPut(t, user))
			})
			t.Run("METADATA", func(t *testing.T) {
				f, _, _ := startRegistering(t, dovecottest.Config{Users: users(5), NoAttributeDict: true}, r, "register on_subscribe")
				args := []string{"register"}
				for _, u := range users(5) {
					args = append(args, u.Name)
				}
				out, err := f.command(args...)
				require.Error(t, err)
				assert.Contains(t, out, "mail_attribute_dict = file:%h/dovecot-attributes")
				assert.Contains(t, out, "imap_metadata = yes")
				assert.Equal(t, 1, strings.Count(f.Log(), "no user can be registered"), "one message, not one for each user")
				assert.Equal(t, http.StatusBadGateway, f.adminPut(t, user))
			})
			t.Run("user", func(t *testing.T) {
				f, dovecot, _ := startRegistering(t, dovecottest.Config{Users: users(2)}, r, "register off")
				assert.Equal(t, http.StatusOK, f.adminPut(t, user))
				assert.Equal(t, http.StatusNotFound, f.adminPut(t, "nobody@example.com"))
				require.NoError(t, dovecot.RegisterValue("user1@example.com", "user=17@4"))
				assert.Equal(t, http.StatusConflict, f.adminPut(t, "user1@example.com"))
				assert.Equal(t, http.StatusOK, f.adminPut(t, "user1@example.com?takeover"))
				require.NoError(t, dovecot.BreakMail(user))
				assert.Equal(t, http.StatusServiceUnavailable, f.adminPut(t, user))
			})
		})
	}
}

// adminPut registers a user with the admin API, and returns the status.
func (f *front) adminPut(t *testing.T, user string) int {
	t.Helper()
	r, err := http.NewRequest(http.MethodPut, "http://"+f.Admin+"/dovecot_push/registrations/"+user, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	resp.Body.Close()
	return resp.StatusCode
}

// countingProxy is in front of a DoveAdm API, and counts which entries Dovecot
// has written, also for those who do not wait for the answer.
type countingProxy struct {
	*httptest.Server
	mu   sync.Mutex
	sets map[string]int // by user
	all  map[string]int // by command
	most int            // with so many entries no more are written, if it is not 0, and there is no answer
}

func newCountingProxy(t *testing.T, dovecot *dovecottest.Server) *countingProxy {
	t.Helper()
	target, err := url.Parse(dovecot.DoveAdmURL())
	require.NoError(t, err)
	p := &countingProxy{sets: make(map[string]int), all: make(map[string]int)}
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL.Host, r.Out.URL.Scheme = target.Host, target.Scheme },
		Transport: &http.Transport{DisableKeepAlives: true},
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if p.enough() && bytes.Contains(body, []byte("mailboxMetadataSet")) {
			<-r.Context().Done()
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		forward.ServeHTTP(answer, r.WithContext(context.WithoutCancel(r.Context())))
		p.count(body, answer.Body.String())
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes())
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *countingProxy) count(body []byte, answer string) {
	var calls [][]json.RawMessage
	var name string
	var parameters struct{ User string }
	if json.Unmarshal(body, &calls) != nil || len(calls) != 1 || json.Unmarshal(calls[0][0], &name) != nil ||
		json.Unmarshal(calls[0][1], &parameters) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all[name]++
	if name == "mailboxMetadataSet" && !strings.Contains(answer, "error") {
		p.sets[parameters.User]++
	}
}

// counted is how often a command was given.
func (p *countingProxy) counted(command string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all[command]
}

func (p *countingProxy) enough() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most > 0 && len(p.sets) >= p.most
}

// stopAt lets no more than about n entries be written; 0 lets all.
func (p *countingProxy) stopAt(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.most = n
}

// written is how many users have an entry.
func (p *countingProxy) written() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sets)
}

// Caddy is killed in the middle of registering 200 users. The next start does the
// rest, and no entry is written twice.
func TestKilledWhileRegistering(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		const many = 200
		var proxy *countingProxy
		byProxy := registrar{"doveadm", func(d *dovecottest.Server) string {
			proxy = newCountingProxy(t, d)
			proxy.stopAt(many / 2)
			return "doveadm " + proxy.URL + "/doveadm/v1 {\napi_secret {env.API_SECRET}\n}\n"
		}, registrars[0].env}
		f, dovecot, _ := startRegistering(t, dovecottest.Config{Version: version, Users: users(many), NoDebugLog: true}, byProxy, "register all")
		requireReach(t, many/3, proxy.written, 5*time.Millisecond)
		f.Kill()
		killed := proxy.written()
		require.Less(t, killed, many)
		proxy.stopAt(0)

		f.start(t)
		requireReach(t, many, proxy.written, 50*time.Millisecond)
		require.Eventually(t, func() bool {
			metrics, err := f.Metrics()
			return err == nil && strings.Contains(metrics, "caddy_dovecot_push_registration_users{state=\"registered\"} 200\n")
		}, waitTimeout, 50*time.Millisecond)
		proxy.mu.Lock()
		defer proxy.mu.Unlock()
		for user, n := range proxy.sets {
			assert.Equal(t, 1, n, user)
		}
		assert.Less(t, proxy.all["mailboxMetadataGet"], killed, "what was done is not looked at one by one")
		assert.Equal(t, "user=user199@example.com"+ourMark, valueIn(t, dovecot, "user199@example.com"))
		t.Logf("killed after %d of %d, %d read", killed, many, proxy.all["mailboxMetadataGet"])
	})
}
