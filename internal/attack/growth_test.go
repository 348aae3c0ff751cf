// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// greedyUsers are how many users try to make the server keep more and more.
const greedyUsers = 3

func greedy(n int) string { return fmt.Sprintf("greedy%d@example.com", n%greedyUsers) }

// writer is somebody who makes the server keep something, again and again.
type writer struct {
	in      *installation
	n       int // which of several
	user    string
	client  *http.Client // which comes from an address of its own
	cookie  func(*http.Request)
	devices []string // identities
	holder  *holder
}

// writes is everything that somebody can make this server keep: each row of the
// tables in docs/security.md, by its name there, with the ways to cause it.
// A way is tried again and again by the same writer.
var writes = map[string]map[string]func(w *writer, i int){
	"devices": {
		"added and never removed": func(w *writer, _ int) { w.add() },
		"added and removed": func(w *writer, _ int) {
			if id := w.add(); id != "" {
				w.api(http.MethodDelete, "subscriptions/"+id, "")
			}
		},
		"renamed": func(w *writer, i int) {
			w.one(func(id string) {
				w.api(http.MethodPatch, "subscriptions/"+id, fmt.Sprintf(`{"name":"%d%s"}`, i, strings.Repeat("x", 60)))
			})
		},
		"preferred": func(w *writer, i int) {
			w.one(func(id string) {
				w.api(http.MethodPatch, "subscriptions/"+id, fmt.Sprintf(`{"preferences":{"notFrom":["%d@%s"]}}`, i, strings.Repeat("x", 2000)))
			})
		},
		"moved": func(w *writer, _ int) {
			w.one(func(id string) {
				if device, err := w.in.push.NewDevice(w.in.serverKey); err == nil {
					w.api(http.MethodPatch, "subscriptions/"+id, device.JSON(nil))
				}
			})
		},
		"confirmed with a wrong code": func(w *writer, i int) {
			w.one(func(id string) {
				w.api(http.MethodPatch, "subscriptions/"+id, fmt.Sprintf(`{"verificationCode":"%d"}`, i))
			})
		},
		"tested": func(w *writer, _ int) {
			w.one(func(id string) { w.api(http.MethodPost, "subscriptions/"+id+"/test", "") })
		},
	},
	"last delivery to a device": {
		"a mail": func(w *writer, i int) { w.in.notify(w.client, notification(w.user, 1<<20*w.n+i)) },
	},
	"mails held back from a device that is quiet or muted": {
		"a mail while it is muted": func(w *writer, i int) {
			if len(w.devices) == 0 {
				if id := w.addConfirmed(); id != "" {
					w.devices = append(w.devices, id)
					w.api(http.MethodPatch, "subscriptions/"+id, `{"preferences":{"mutedUntil":"forever"}}`)
				}
			}
			w.in.notify(w.client, large(w.user, strings.Repeat("held", 20), 1<<20*w.n+i))
		},
		"a mute that ends": func(w *writer, i int) {
			w.one(func(id string) {
				w.api(http.MethodPatch, "subscriptions/"+id, fmt.Sprintf(`{"preferences":{"mutedUntil":%q}}`, time.Now().Add(time.Duration(i%3)*time.Second).UTC().Format(time.RFC3339)))
			})
		},
	},
	"sessions that were signed out": {
		"in and out": func(w *writer, _ int) {
			if got, cookie := w.in.signIn(w.client, w.user, password); got.status == http.StatusOK {
				w.in.api(w.client, http.MethodDelete, "session", "", cookie)
			}
		},
		"out, again and again": func(w *writer, _ int) {
			if w.cookie == nil {
				_, w.cookie = w.in.signIn(w.client, w.user, password)
			}
			w.in.api(w.client, http.MethodDelete, "session", "", w.cookie)
		},
		"out, with cookies of nobody": func(w *writer, i int) {
			w.api(http.MethodDelete, "session", "", func(r *http.Request) {
				r.Header.Set("Cookie", fmt.Sprintf("__Host-dovecot-push-00000000=%d%s", i, strings.Repeat("A", 200)))
			})
		},
	},
	"actions of notifications": {
		"done": func(w *writer, i int) {
			if w.holder == nil {
				w.holder = w.in.newHolder(w.client, w.user)
			}
			if w.holder != nil {
				w.api(http.MethodPost, "actions", w.holder.ticket(1<<20*w.n+i))
			}
		},
		"with tickets that nobody wrote": func(w *writer, i int) {
			w.api(http.MethodPost, "actions", forged(w.user, fmt.Sprint(i, strings.Repeat("x", 8000))))
		},
	},
	"event streams": {
		"opened and left": func(w *writer, _ int) { w.in.hangUp("/push/api/events", basic(w.user, password)) },
		"from odd positions": func(w *writer, i int) {
			w.in.hangUp("/push/api/events", func(r *http.Request) {
				basic(w.user, password)(r)
				r.Header.Set("Last-Event-ID", fmt.Sprintf("%d%s", i, strings.Repeat("z", 1000)))
			})
		},
	},
	"which users want push": {
		"wanted, or not": func(w *writer, _ int) {
			if id := w.add(); id != "" {
				w.api(http.MethodDelete, "subscriptions/"+id, "")
			}
		},
	},
	"notifications": {
		"of one user": func(w *writer, i int) {
			w.in.notify(w.client, large(w.user, "INBOX", 1<<20*(w.n+100)+i))
		},
		"of new users": func(w *writer, i int) {
			w.in.notify(w.client, large(fmt.Sprintf("user%d-%d@example.com", w.n, i), "INBOX", i))
		},
		"of new folders": func(w *writer, i int) { w.in.notify(w.client, large(w.user, fmt.Sprint("folder", w.n, i), i)) },
		"the same":       func(w *writer, _ int) { w.in.notify(w.client, large(w.user, "INBOX", 1)) },
		"that nobody can deliver": func(w *writer, i int) {
			w.in.notify(w.client, large(fmt.Sprintf("down%d-%d@example.com", w.n, i), "INBOX", i))
		},
	},
	"dead letters": {
		"refused": func(w *writer, i int) {
			w.in.notify(w.client, large(fmt.Sprintf("refused%d-%d@example.com", w.n, i), "INBOX", i))
		},
	},
	"sources, accounts, logins and passwords": {
		"wrong logins of new names": func(w *writer, i int) {
			w.in.signIn(w.client, fmt.Sprintf("name%d-%d@example.com%s", w.n, i, strings.Repeat("x", 300)), "wrong")
		},
		"wrong logins from new sources": func(w *writer, i int) {
			from := http.Client{Transport: from(127, byte(10+w.n), byte(i>>8), byte(i)), Timeout: patience}
			w.in.signIn(&from, w.user, fmt.Sprint("wrong", i))
		},
		"wrong credentials from new sources": func(w *writer, i int) {
			from := http.Client{Transport: from(127, byte(60+w.n), byte(i>>8), byte(i)), Timeout: patience}
			do(&from, http.MethodPut, w.in.url+notifyPath, notification(w.user, i), basic("dovecot", fmt.Sprint("wrong", i)))
		},
		"notifications from new sources": func(w *writer, i int) {
			from := http.Client{Transport: from(127, byte(110+w.n), byte(i>>8), byte(i)), Timeout: patience}
			w.in.notify(&from, `{"user":"nobody"}`)
		},
		"right logins": func(w *writer, _ int) { w.api(http.MethodGet, "session", "", basic(w.user, password)) },
		"paths": func(w *writer, i int) {
			do(w.client, http.MethodGet, fmt.Sprintf("%s/push/%d%s", w.in.url, i, strings.Repeat("x", 3000)), "")
		},
	},
}

// large reports a mail with a long subject.
func large(user, folder string, uid int) string {
	return fmt.Sprintf(`{"user":%q,"event":"messageNew","folder":%q,"imap-uidvalidity":2,"imap-uid":%d,"subject":%q}`, user, folder, uid, strings.Repeat("x", 20_000))
}

// api makes a request with the login of the writer, unless a change says
// otherwise.
func (w *writer) api(method, path, body string, change ...func(*http.Request)) answer {
	if len(change) == 0 {
		change = append(change, basic(w.user, password))
	}
	return w.in.api(w.client, method, path, body, change...)
}

// add adds a device, and returns its identity if it was taken.
func (w *writer) add() string {
	device, err := w.in.push.NewDevice(w.in.serverKey)
	if err != nil {
		return ""
	}
	return identity(w.api(http.MethodPost, "subscriptions", device.JSON(map[string]any{"name": "Phone"})))
}

// addConfirmed is add for a device that gets mail.
func (w *writer) addConfirmed() string {
	device, err := w.in.push.NewDevice(w.in.serverKey)
	if err != nil {
		return ""
	}
	id := identity(w.api(http.MethodPost, "subscriptions", device.JSON(map[string]any{"name": "Phone"})))
	messages, err := device.Messages()
	if id == "" || err != nil || len(messages) == 0 {
		return ""
	}
	var code struct{ VerificationCode string }
	if json.Unmarshal(messages[0].Plain, &code) != nil {
		return ""
	}
	w.api(http.MethodPatch, "subscriptions/"+id, fmt.Sprintf(`{"verificationCode":%q}`, code.VerificationCode))
	return id
}

// one does something with a device of the writer.
func (w *writer) one(act func(id string)) {
	if len(w.devices) == 0 {
		if w.devices = append(w.devices, w.add()); w.devices[0] == "" {
			w.devices = nil
			return
		}
	}
	act(w.devices[0])
}

// keep makes everybody write for as long as an attack lasts.
func keep(t *testing.T, in *installation, round int) {
	t.Helper()
	const each = 2
	var all []func(i int)
	n := 0
	for _, ways := range writes {
		for _, way := range ways {
			for range each {
				w := &writer{in: in, n: n, user: greedy(n), client: clientFrom(t, fmt.Sprintf("127.0.1.%d", n), patience)}
				all = append(all, func(i int) { way(w, round<<18+i) })
				n++
			}
		}
	}
	t.Logf("%d writes", attackers(len(all), *lasts, func(n, i int) { all[n](i) }))
}

// Whatever people and peers do, and however often, memory, disk and the number
// of entries stay within what docs/security.md promises.
func TestGrowth(t *testing.T) {
	t.Parallel()
	var users []dovecottest.User
	for n := range greedyUsers {
		users = append(users, dovecottest.User{Name: greedy(n), Password: password})
	}
	in := install(t, dovecottest.Config{Users: users, NoDebugLog: true}, "register on_subscribe {\ngrace 1ms\n}\n")
	in.deliverTo(t, http.DefaultClient, healthy)

	keep(t, in, 0)
	before := heap(t, in.Caddy)
	keep(t, in, 1)
	after := heap(t, in.Caddy)
	disk := size(t, in.QueueDir())
	t.Logf("memory: %d KiB, then %d KiB; disk: %d KiB", before>>10, after>>10, disk>>10)
	assert.Less(t, after, before+growth, "memory")
	// Accepted notifications, parked ones and dead letters, and the history; what
	// was removed of them leaves the disk a little later.
	assert.Less(t, disk, int64(3*maxBytes+historyBytes)*3/2, "disk")
	status := in.status(t)
	assert.LessOrEqual(t, status.Queue.Bytes, uint64(maxBytes))
	assert.LessOrEqual(t, status.Devices.Confirmed+status.Devices.Unconfirmed, greedyUsers*20, "devices")
	assert.LessOrEqual(t, status.SignedOut.Entries, greedyUsers*33, "sessions that were signed out")
	if isLong() {
		assert.Contains(t, in.Log(), "full", "there were more notifications than are kept")
	}
	for _, target := range status.Targets {
		t.Logf("%s: %d waiting, %d parked, %d dead letters", target.Name, target.Waiting, target.Parked, target.DeadLetters)
	}
	in.Stop()

	q, err := queue.Open(t.Context(), queue.Config{Embedded: &queue.Embedded{Path: in.QueueDir()}, MaxBytes: maxBytes, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer q.Close()
	// Of the healthy user there is nothing: they only get mail. Registrations have
	// one entry about which Caddy looks after them.
	for table, most := range map[string]int{"subscriptions": greedyUsers, "sessions": greedyUsers * 33, "streams": greedyUsers, "registrations": greedyUsers + 1, "actions": greedyUsers * 200} {
		entries, bytes := 0, 0
		for entry, err := range q.Table(table).All(t.Context(), nil) {
			require.NoError(t, err)
			entries++
			bytes += len(entry.Value)
		}
		t.Logf("%s: %d entries, %d bytes", table, entries, bytes)
		assert.LessOrEqual(t, entries, most, table)
		assert.LessOrEqual(t, bytes, greedyUsers*60<<10, table)
		assert.NotZero(t, entries, table)
		if table == "sessions" {
			assert.Equal(t, entries, status.SignedOut.Entries, "what status says")
		}
	}
}

const (
	// historyBytes is how much is kept for streams that were interrupted.
	historyBytes = 32 << 20
	// growth is what a second attack may add to the memory: what is bounded, but
	// was not full after the first.
	growth = 16 << 20
)

// Every row of the tables about what is written and remembered is attacked, and
// nothing is attacked that is in no row.
func TestEveryWriteIsAttacked(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(caddytestkit.Repository(), "docs", "security.md"))
	require.NoError(t, err)
	_, section, ok := strings.Cut(string(page), "\n## What a user can make this server write\n")
	require.True(t, ok)
	section, _, _ = strings.Cut(section, "\n## ")
	documented := make(map[string]bool)
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+) \|`).FindAllStringSubmatch(section, -1) {
		if row[1] != "what" {
			documented[row[1]] = true
		}
	}
	attacked := make(map[string]bool)
	for what := range writes {
		attacked[what] = true
	}
	assert.Equal(t, documented, attacked)
}

// heap is how much memory of a Caddy is in use, in bytes.
func heap(t *testing.T, c *caddytestkit.Caddy) int {
	t.Helper()
	got := do(http.DefaultClient, http.MethodGet, "http://"+c.Admin+"/debug/pprof/heap?gc=1&debug=1", "")
	require.Equal(t, http.StatusOK, got.status)
	found := regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`).FindStringSubmatch(got.body)
	require.NotNil(t, found)
	var bytes int
	_, err := fmt.Sscan(found[1], &bytes)
	require.NoError(t, err)
	return bytes
}

// size is how much the files in a directory take, in bytes.
func size(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil // it is being written
		}
		if info, err := entry.Info(); err == nil {
			bytes += info.Size()
		}
		return nil
	}))
	return bytes
}

// from makes each connection from a loopback address.
func from(a, b, c, d byte) http.RoundTripper {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(a, b, c, d)}}
	return &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
}
