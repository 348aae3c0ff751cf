// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

// luaEndpoint takes what push.lua sends.
type luaEndpoint struct {
	*httptest.Server
	mu   sync.Mutex
	got  []*notification.Notification
	fail bool
	asks int
}

func newLuaEndpoint(t *testing.T) *luaEndpoint {
	t.Helper()
	e := new(luaEndpoint)
	decoder := &notification.Decoder{Events: notification.AllEvents}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, http.MethodPut, r.Method)
		assert.Equal(t, "application/json; charset=utf-8", r.Header.Get("Content-Type"))
		login, password, _ := r.BasicAuth()
		assert.Equal(t, "dovecot", login)
		assert.Equal(t, `s3crét"`, password)
		assert.True(t, json.Valid(body), "%q", body)
		n, err := decoder.Decode(body)
		assert.NoError(t, err, "%q", body)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.asks++
		if e.fail {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		e.got = append(e.got, n)
	}))
	t.Cleanup(e.Close)
	return e
}

// take returns what was reported since it was called last. Dovecot waits for
// the answers before it answers the command.
func (e *luaEndpoint) take() []*notification.Notification {
	e.mu.Lock()
	defer e.mu.Unlock()
	got := e.got
	e.got = nil
	return got
}

// events are the events and their UIDs, such as "messageNew 1".
func (e *luaEndpoint) events() []string {
	var all []string
	for _, n := range e.take() {
		all = append(all, strings.TrimSpace(string(n.Event)+" "+n.Folder+" "+strings.Join(n.Flags, " ")+n.OldFolder))
	}
	return all
}

// startLua starts a Dovecot with the script and the configuration of the
// examples.
func startLua(t *testing.T, version Version, e *luaEndpoint) *Server {
	t.Helper()
	return startLuaWith(t, version, e, Config{})
}

// startLuaWith is the same with further configuration, and with replacements in
// the script: pairs of what stands there and what to put in its place.
func startLuaWith(t *testing.T, version Version, e *luaEndpoint, further Config, replacements ...string) *Server {
	t.Helper()
	read := func(name string) string {
		text, err := os.ReadFile(filepath.Join("..", "..", "examples", "lua", name))
		require.NoError(t, err)
		return string(text)
	}
	script := strings.NewReplacer(
		"https://push.internal.example:8009/preliminary", e.URL+"/preliminary", `"SECRET"`, `"s3crét\""`, "local limit = 100", "local limit = 5",
	).Replace(read("push.lua"))
	require.Contains(t, script, e.URL)
	for i := 0; i < len(replacements); i += 2 {
		require.Contains(t, script, replacements[i])
		script = strings.ReplaceAll(script, replacements[i], replacements[i+1])
	}
	config := strings.ReplaceAll(read("dovecot-"+string(version)+".conf"), "/etc/dovecot/push.lua", "{{.Dir}}/push.lua")
	config, _, found := strings.Cut(config, "# Whose certificate Caddy shows.") // the endpoint of the test talks plain HTTP
	require.True(t, found)
	files := map[string]string{"push.lua": script}
	maps.Copy(files, further.Files)
	return Start(t, Config{Version: version, Files: files, ExtraConfig: config + further.ExtraConfig})
}

// What people do with their mail programs is reported, in the JSON of the ox
// driver.
func TestLuaScript(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		e := newLuaEndpoint(t)
		s := startLua(t, version, e)
		_, err := s.Deliver("", []string{DefaultUser}, []byte("From: =?utf-8?Q?J=C3=BCrgen?= <j@example.net>\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe_\"\\?=\r\n\r\nHello\r\n"))
		require.NoError(t, err)
		got := e.take()
		require.Len(t, got, 2)
		assert.Equal(t, notification.MailboxCreate, got[0].Event, "the first mail makes the mailbox")
		got = got[1:]
		assert.Equal(t, notification.MessageNew, got[0].Event)
		assert.Equal(t, DefaultUser, got[0].User)
		assert.Equal(t, "INBOX", got[0].Folder)
		assert.EqualValues(t, 1, got[0].UID)
		assert.NotZero(t, got[0].UIDValidity)
		assert.Equal(t, "Jürgen <j@example.net>", got[0].From)
		assert.Equal(t, `Grüße "\`, got[0].Subject)
		assert.Equal(t, "Hello", got[0].Snippet)
		require.NotNil(t, got[0].Unseen)
		assert.EqualValues(t, 1, *got[0].Unseen)

		c, err := imapclient.DialInsecure(s.IMAPAddr(), nil)
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.Login(DefaultUser, DefaultPassword).Wait())
		require.NoError(t, c.Create("Größe", nil).Wait())
		assert.Equal(t, []string{"mailboxCreate Größe"}, e.events())
		require.NoError(t, c.Rename("Größe", "B", nil).Wait())
		assert.Equal(t, []string{"mailboxRename B Größe"}, e.events())
		require.NoError(t, c.Subscribe("B").Wait())
		assert.Equal(t, []string{"mailboxSubscribe B"}, e.events())
		require.NoError(t, c.Unsubscribe("B").Wait())
		assert.Equal(t, []string{"mailboxUnsubscribe B"}, e.events())

		_, err = c.Select("INBOX", nil).Wait()
		require.NoError(t, err)
		one := imap.UIDSetNum(1)
		store := func(op imap.StoreFlagsOp, flags ...imap.Flag) {
			t.Helper()
			require.NoError(t, c.Store(one, &imap.StoreFlags{Op: op, Flags: flags}, nil).Close())
		}
		store(imap.StoreFlagsAdd, imap.FlagSeen)
		for _, n := range e.take() {
			if n.Event == notification.MessageRead {
				require.NotNil(t, n.Unseen, "the icons of devices have to know")
				assert.Zero(t, *n.Unseen)
			}
		}
		store(imap.StoreFlagsDel, imap.FlagSeen)
		e.take()
		store(imap.StoreFlagsAdd, imap.FlagSeen)
		assert.ElementsMatch(t, []string{"messageRead INBOX", `flagsSet INBOX \Seen`}, e.events())
		store(imap.StoreFlagsAdd, imap.FlagFlagged, "kw1")
		assert.Equal(t, []string{`flagsSet INBOX \Flagged kw1`}, e.events())
		store(imap.StoreFlagsDel, "kw1")
		assert.Equal(t, []string{"flagsClear INBOX kw1"}, e.events())
		_, err = c.Copy(one, "B").Wait()
		require.NoError(t, err)
		assert.Equal(t, []string{"messageAppend B"}, e.events())
		store(imap.StoreFlagsAdd, imap.FlagDeleted)
		assert.ElementsMatch(t, []string{"messageTrash INBOX", `flagsSet INBOX \Deleted`}, e.events())
		require.NoError(t, c.Expunge().Close())
		assert.Equal(t, []string{"messageExpunge INBOX"}, e.events())
		require.NoError(t, c.Delete("B").Wait())
		assert.Equal(t, []string{"messageExpunge B", "mailboxDelete B"}, e.events())
	})
}

// A client that changes many messages at once does not wait for many requests,
// nor for an endpoint that fails.
func TestLuaScriptIsBounded(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		e := newLuaEndpoint(t)
		s := startLua(t, version, e)
		for range 7 {
			_, err := s.Deliver("", []string{DefaultUser}, mail("Hello"))
			require.NoError(t, err)
		}
		require.Len(t, e.take(), 8, "the mailbox and its mails")
		c, err := imapclient.DialInsecure(s.IMAPAddr(), nil)
		require.NoError(t, err)
		defer c.Close()
		require.NoError(t, c.Login(DefaultUser, DefaultPassword).Wait())
		_, err = c.Select("INBOX", nil).Wait()
		require.NoError(t, err)
		all := imap.SeqSet{imap.SeqRange{Start: 1, Stop: 7}}
		require.NoError(t, c.Store(all, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close())
		require.Len(t, e.take(), 5, "the limit of the test")
		logged := func(line string) { // what a process logs comes through another
			require.Eventually(t, func() bool { return strings.Contains(s.Log(), line) }, time.Minute, 10*time.Millisecond, line)
		}
		logged("push.lua: 2 events of one transaction are not reported")

		e.mu.Lock()
		e.fail, e.asks = true, 0
		e.mu.Unlock()
		require.NoError(t, c.Store(all, &imap.StoreFlags{Op: imap.StoreFlagsDel, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Close())
		e.mu.Lock()
		defer e.mu.Unlock()
		require.Equal(t, 1, e.asks, "after a failure the rest is not tried")
		logged("the endpoint answers 503")
	})
}
