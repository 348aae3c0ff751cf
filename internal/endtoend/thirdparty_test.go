// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"

	_ "github.com/dovecotpush/caddy-dovecot-push"
	_ "github.com/dovecotpush/caddy-dovecot-push/examples/own-target"
)

// places are the pagers and the lamp of the example: paths of one server, which keep
// what came.
type places struct {
	*httptest.Server
	mu     sync.Mutex
	bodies map[string][]string
	status map[string]int // what a path answers, if it is not 204
}

func startPlaces(t *testing.T) *places {
	t.Helper()
	p := &places{bodies: make(map[string][]string), status: make(map[string]int)}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.bodies[r.URL.Path] = append(p.bodies[r.URL.Path], string(body))
		w.WriteHeader(max(p.status[r.URL.Path], http.StatusNoContent))
	}))
	t.Cleanup(p.Close)
	return p
}

// at waits until n requests came to a path, and returns what they had.
func (p *places) at(t *testing.T, path string, n int) []string {
	t.Helper()
	var got []string
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		got = p.bodies[path]
		return len(got) >= n
	}, waitTimeout, 5*time.Millisecond, path)
	return got
}

// Targets of other modules are found by their names. They deliver to several places
// of a user, and to devices of their own kind, with what the package target exports.
func TestTargetsOfAnotherModule(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("NOTIFY_PASSWORD", notifyPassword)
	places := startPlaces(t)
	places.status["/pagers/1"] = http.StatusGone
	lamps := strings.TrimPrefix(places.URL, "http://")
	address := freeAddress(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	require.NoError(t, err)
	config := func(deliver string) ([]byte, error) {
		adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte("{\nadmin off\npersist_config off\ndovecot_push {\n"+deliver+"\n}\n}\n"+
			"http://"+address+" {\ndovecot_push_notify {\nallow private_ranges\ncredentials "+notifyUser+" {env.NOTIFY_PASSWORD}\n}\n"+
			"basic_auth /push/* {\nsomebody@example.com "+string(hash)+"\n}\ndovecot_push_api {\nlogin caddy\n}\n}\n"), nil)
		return adapted, err
	}
	example := find(t, read(t, "examples", "own-target", "README.md"), "(?s)```caddyfile\n(.*?)```")
	_, _, err = caddyconfig.GetAdapter("caddyfile").Adapt([]byte(example), nil)
	require.NoError(t, err)
	_, err = config("deliver pigeon")
	require.ErrorContains(t, err, `there is no target "pigeon"; there are: apns, fcm, lamp, middleware, pager, webhook, webpush`)
	adapted, err := config("deliver pager " + places.URL + "/pagers {\nsomebody@example.com 1 2 3\n}\ndeliver lamp " + lamps)
	require.NoError(t, err)
	require.NoError(t, caddy.Load(adapted, true))
	defer func() { assert.NoError(t, caddy.Stop()) }()

	call := func(method, path, body string, answer any) int {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+"/push/api"+path, strings.NewReader(body))
		require.NoError(t, err)
		r.SetBasicAuth("somebody@example.com", "secret")
		r.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		defer resp.Body.Close()
		if answer != nil {
			require.NoError(t, json.NewDecoder(resp.Body).Decode(answer))
		}
		return resp.StatusCode
	}
	var lamp struct {
		ID, Kind, Field string
		Confirmed       bool
	}
	add := func(kind, endpoint string) int {
		body, err := json.Marshal(map[string]string{"kind": kind, "name": "Desk", "endpoint": endpoint})
		require.NoError(t, err)
		return call(http.MethodPost, "/subscriptions", string(body), &lamp)
	}
	require.Equal(t, http.StatusBadRequest, add("candle", places.URL+"/lamp"))
	assert.Equal(t, "kind", lamp.Field)
	require.Equal(t, http.StatusBadRequest, add("", places.URL+"/lamp"), "nothing delivers Web Push here")
	require.Equal(t, http.StatusBadRequest, add("lamp", "http://169.254.169.254/"))
	assert.Equal(t, "endpoint", lamp.Field)
	require.Equal(t, http.StatusCreated, add("lamp", places.URL+"/lamp"))
	assert.Equal(t, "lamp", lamp.Kind)

	// Mail comes only after the lamp has confirmed its code; the pagers have it at once.
	taken(t, address, notification(7))
	for _, pager := range []string{"/pagers/2", "/pagers/3"} {
		assert.Equal(t, []string{"new mail in INBOX"}, places.at(t, pager, 1))
	}
	places.at(t, "/pagers/1", 1)
	code, found := strings.CutPrefix(places.at(t, "/lamp", 1)[0], "blink: ")
	require.True(t, found)
	require.Equal(t, http.StatusOK, call(http.MethodPatch, "/subscriptions/"+lamp.ID, `{"verificationCode":"`+code+`"}`, &lamp))
	assert.True(t, lamp.Confirmed)
	require.Equal(t, http.StatusAccepted, call(http.MethodPost, "/subscriptions/"+lamp.ID+"/test", "", nil))
	taken(t, address, notification(8))
	assert.Equal(t, []string{"blink: " + code, "blink", "on: INBOX"}, places.at(t, "/lamp", 3))
	for _, pager := range []string{"/pagers/2", "/pagers/3"} {
		places.at(t, pager, 2)
	}
	assert.Len(t, places.at(t, "/pagers/1", 1), 1, "it is gone, and not asked again")

	// A lamp that is gone is removed by the app.
	places.mu.Lock()
	places.status["/lamp"] = http.StatusGone
	places.mu.Unlock()
	taken(t, address, notification(9))
	require.Eventually(t, func() bool {
		return call(http.MethodGet, "/subscriptions/"+lamp.ID, "", nil) == http.StatusNotFound
	}, waitTimeout, 5*time.Millisecond)
}

// What the page shows of a target stands in the example.
func TestWritingATarget(t *testing.T) {
	t.Parallel()
	code := read(t, "examples", "own-target", "pager.go") + read(t, "examples", "own-target", "lamp.go")
	words := func(text string) string { return strings.Join(strings.Fields(text), " ") }
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(read(t, "docs", "writing-a-target.md"), -1)
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		assert.Contains(t, words(code), words(block[1]))
	}
}
