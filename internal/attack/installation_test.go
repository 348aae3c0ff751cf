// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

const (
	// healthy is a user who does no harm, and must not notice those who do.
	healthy  = "healthy@example.com"
	password = "pass"
	// maxBytes is how much the queue of an installation may take.
	maxBytes = 4 << 20
	// topic is the app on Apple's devices.
	topic = "com.example.mail"
)

// installation is all that people and peers have to do with: a Caddy with an
// endpoint and an API, a Dovecot that knows the users, the receiver of a
// webhook, a push service, and those of Apple and Google.
type installation struct {
	*caddytestkit.Caddy
	address, url, config string

	dovecot *dovecottest.Server
	push    *pushtest.Service
	apple   *pushtest.APNs
	google  *pushtest.FCM
	hook    *receiver
	// What Caddy connects to stands behind these.
	toDoveAdm, toIMAP, toHook *relay
	uids                      *counter
	// serverKey is the VAPID key, which devices subscribe with.
	serverKey string
}

// install starts an installation. Users are in Dovecot besides the healthy one;
// more is written into the global option. The pairs in replace change the rest of
// the Caddyfile.
func install(t *testing.T, cfg dovecottest.Config, more string, replace ...string) *installation {
	t.Helper()
	address := freeAddress(t)
	in := &installation{address: address, url: "http://" + address, push: pushtest.Start(t), hook: startReceiver(t), uids: new(counter)}
	in.apple, in.google = pushtest.StartAPNs(t, topic), pushtest.StartFCM(t)
	appleKey, appleKeyID := in.apple.KeyFile(t)
	account, _ := in.google.AccountFile(t)
	cfg.Version = dovecottest.V23
	cfg.NoFailureDelay = true
	cfg.Users = append(cfg.Users, dovecottest.User{Name: healthy, Password: password})
	cfg.Drivers = []dovecottest.Driver{{URL: "http://dovecot:right@" + address + notifyPath, Timeout: 10 * time.Second, MaxAttempts: 2}}
	in.dovecot = dovecottest.Start(t, cfg)
	doveadm, err := url.Parse(in.dovecot.DoveAdmURL())
	require.NoError(t, err)
	in.toDoveAdm, in.toIMAP, in.toHook = startRelay(t, doveadm.Host), startRelay(t, in.dovecot.IMAPAddr()), startRelay(t, in.hook.Listener.Addr().String())
	doveadm.Host = in.toDoveAdm.address
	in.config = strings.NewReplacer(
		"ADDRESS", address, "HOOK", "http://"+in.toHook.address, "PUSH", in.push.Origin,
		"APPLE", in.apple.Origin, "KEY_FILE", appleKey, "KEY_ID", appleKeyID, "TEAM_ID", in.apple.TeamID, "TOPIC", topic,
		"GOOGLE", in.google.Origin, "ACCOUNT_FILE", account, "DOVEADM", doveadm.String(), "IMAP", in.toIMAP.address,
		"MAX_BYTES", fmt.Sprint(maxBytes), "MORE", more,
	).Replace(strings.NewReplacer(replace...).Replace(`{
	dovecot_push {
		queue embedded {
			sync 1s
			max_bytes MAX_BYTES
		}
		doveadm DOVEADM {
			api_secret {env.API_SECRET}
			check_interval 1s
		}
		actions read
		deliver webhook hook HOOK {
			content full
			users healthy* greedy* user*
		}
		deliver webhook refused HOOK {
			users refused*
		}
		deliver webhook down HOOK {
			users down*
		}
		deliver webpush {
			contact postmaster@example.com
			allow_endpoints PUSH
		}
		deliver apns {
			key {file.KEY_FILE}
			key_id KEY_ID
			team_id TEAM_ID
			topics TOPIC
			endpoint APPLE
			sandbox_endpoint APPLE
		}
		deliver fcm {
			service_account {file.ACCOUNT_FILE}
			endpoint GOOGLE
		}
		MORE
	}
}
http://ADDRESS {
	dovecot_push_notify {
		allow private_ranges
		credentials dovecot {env.NOTIFY_PASSWORD}
	}
	dovecot_push_api /push/* {
		login imap imap://IMAP
	}
}
`))
	caFile := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(caFile, slices.Concat(in.push.CA(), in.apple.CA(), in.google.CA()), 0o600))
	in.Caddy = caddytestkit.Start(t, in.config, "API_SECRET="+in.dovecot.APIKey(), "NOTIFY_PASSWORD=right", "SSL_CERT_FILE="+caFile)
	var config struct{ ApplicationServerKey string }
	require.Eventually(t, func() bool {
		got := in.api(http.DefaultClient, http.MethodGet, "config", "")
		return got.status == http.StatusOK && json.Unmarshal([]byte(got.body), &config) == nil
	}, patience, 10*time.Millisecond, "there are keys")
	in.serverKey = config.ApplicationServerKey
	return in
}

// counter gives each mail a number of its own.
type counter struct {
	mu   sync.Mutex
	last int
}

func (c *counter) next() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last++
	return c.last
}

// notify reports a mail as Dovecot does.
func (in *installation) notify(client *http.Client, body string) answer {
	return do(client, http.MethodPut, in.url+notifyPath, body, basic("dovecot", "right"))
}

// deliverTo reports a mail until it is taken, and waits until it has come out.
// It returns how long that took.
func (in *installation) deliverTo(t *testing.T, client *http.Client, user string) time.Duration {
	t.Helper()
	start, uid := time.Now(), in.uids.next()
	require.Eventually(t, func() bool { return in.notify(client, notification(user, uid)).status == http.StatusOK }, patience, 10*time.Millisecond, "a mail is reported")
	require.Eventually(t, func() bool { return in.hook.has(user, uid) }, patience, 5*time.Millisecond, "a mail is delivered")
	return time.Since(start)
}

// admin makes a request of the admin API.
func (in *installation) admin(method, path, body string) answer {
	return do(http.DefaultClient, method, "http://"+in.Admin+"/dovecot_push/"+path, body)
}

func (in *installation) status(t *testing.T) (status adminapi.Status) {
	t.Helper()
	got := in.admin(http.MethodGet, "status", "")
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.NoError(t, json.Unmarshal([]byte(got.body), &status))
	return status
}

// api makes a request of the API for people.
func (in *installation) api(client *http.Client, method, path, body string, change ...func(*http.Request)) answer {
	return do(client, method, in.url+"/push/api/"+path, body, change...)
}

// signIn returns the cookie of a new session.
func (in *installation) signIn(client *http.Client, user, password string) (answer, func(*http.Request)) {
	login, _ := json.Marshal(map[string]string{"username": user, "password": password})
	got := in.api(client, http.MethodPost, "session", string(login))
	cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	return got, func(r *http.Request) { r.Header.Set("Cookie", cookie) }
}

// identity is a member of an answer.
func identity(got answer) string {
	var made struct{ ID string }
	_ = json.Unmarshal([]byte(got.body), &made)
	return made.ID
}

// receiver takes what a webhook sends. A notification of a user whose name
// begins with "refused" is refused, one for "down" fails.
type receiver struct {
	*httptest.Server
	mu  sync.Mutex
	got map[mail]int
}

type mail struct {
	User string
	UID  int
}

func startReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{got: make(map[mail]int)}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body, err := io.ReadAll(request.Body)
	if err != nil {
		return
	}
	var message struct{ Data mail }
	if err := json.Unmarshal(body, &message); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	switch m := message.Data; {
	case strings.HasPrefix(m.User, "refused"):
		w.WriteHeader(http.StatusBadRequest)
	case strings.HasPrefix(m.User, "down"):
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got[m]++
	}
}

func (r *receiver) has(user string, uid int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.got[mail{user, uid}] > 0
}
