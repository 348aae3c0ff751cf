// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// inTime is how long Dovecot waits for an answer.
const inTime = 2 * time.Second

// floodLasts is how long each of the floods lasts. They are many.
func floodLasts() time.Duration {
	if isLong() {
		return *lasts
	}
	return *lasts / 3
}

// floods are requests in a mass, each at a door of its own.
var floods = map[string]func(in *installation, client *http.Client, n, i int){
	"wrong logins": func(in *installation, client *http.Client, n, i int) {
		in.signIn(client, fmt.Sprintf("user%d@example.com", i%50), fmt.Sprint("guess ", n, " ", i))
	},
	"logins in each request": func(in *installation, client *http.Client, n, i int) {
		in.api(client, http.MethodGet, "session", "", basic(healthy, fmt.Sprint("guess ", n, " ", i)))
	},
	"event streams": func(in *installation, _ *http.Client, _, _ int) {
		in.hangUp("/push/api/events", basic("greedy@example.com", password))
	},
	"event streams of nobody": func(in *installation, client *http.Client, _, i int) {
		in.api(client, http.MethodGet, "events", "", func(r *http.Request) { r.Header.Set("Last-Event-ID", strings.Repeat("x", i%4096)) })
	},
	"devices": func(in *installation, client *http.Client, n, i int) {
		body := fmt.Sprintf(`{"endpoint":"https://127.0.0.1:1/%d/%d","keys":{"p256dh":"BA","auth":"AA"},"name":"x"}`, n, i)
		in.api(client, http.MethodPost, "subscriptions", body, basic("greedy@example.com", password))
	},
	"tickets that nobody wrote": func(in *installation, client *http.Client, n, i int) {
		in.api(client, http.MethodPost, "actions", forged(healthy, fmt.Sprint("guess ", n, " ", i)))
	},
	"the page": func(in *installation, client *http.Client, _, _ int) { do(client, http.MethodGet, in.url+"/push/", "") },
	"bodies that are refused": func(in *installation, client *http.Client, _, i int) {
		in.notify(client, `{"user":"x","event":`+strings.Repeat("[", i%60000))
	},
	"notifications that are taken": func(in *installation, client *http.Client, n, i int) {
		in.notify(client, notification(fmt.Sprintf("user%d@example.com", n), 1000+i))
	},
	"notifications without credentials": func(in *installation, client *http.Client, n, i int) {
		do(client, http.MethodPut, in.url+notifyPath, notification(healthy, 1000*n+i))
	},
	"bodies that never end": func(in *installation, _ *http.Client, _, _ int) { in.dribble() },
	"status":                func(in *installation, _ *http.Client, _, _ int) { in.admin(http.MethodGet, "status", "") },
	"registrations": func(in *installation, _ *http.Client, n, i int) {
		in.admin(http.MethodPut, fmt.Sprintf("registrations/nobody%d-%d", n, i), "")
	},
}

// hangUp opens a stream and leaves it as soon as it is there.
func (in *installation) hangUp(path string, change func(*http.Request)) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, in.url+path, http.NoBody)
	if err != nil {
		panic(err)
	}
	change(r)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(r)
	if err != nil {
		return
	}
	_, _ = resp.Body.Read(make([]byte, 16))
	resp.Body.Close()
}

// dribble begins a notification and sends the rest byte by byte, until the
// server has enough of it or the flood is over.
func (in *installation) dribble() {
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}).Dial("tcp", in.address)
	if err != nil {
		return
	}
	defer conn.Close()
	_, _ = fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ZG92ZWNvdDpyaWdodA==\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n{", notifyPath)
	for end := time.Now().Add(floodLasts()); time.Now().Before(end); {
		_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, io.EOF) {
			return
		}
		if _, err := io.WriteString(conn, " "); err != nil {
			return
		}
	}
}

// Whatever floods, a notification from another source is answered in the time
// that Dovecot waits, in 99 of a hundred cases, and comes out; and people who
// are signed in are served.
func TestFloods(t *testing.T) {
	t.Parallel()
	in := install(t, dovecottest.Config{Users: []dovecottest.User{{Name: "greedy@example.com", Password: password}}}, "")
	mailServer := clientFrom(t, "127.0.0.3", patience)
	in.deliverTo(t, mailServer, healthy)
	got, cookie := in.signIn(mailServer, healthy, password)
	require.Equal(t, http.StatusOK, got.status, got.body)
	const attackersAtOnce, fewest = 50, 5 // notifications, for a percentage
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			done := make(chan int64)
			client := clientFrom(t, "127.0.0.2", patience)
			var tried atomic.Int64
			go func() {
				requests := int64(0)
				for begin := true; begin || tried.Load() < fewest; begin = false {
					requests += attackers(attackersAtOnce, floodLasts(), func(n, i int) { flood(in, client, n, i) })
				}
				done <- requests
			}()
			var took []time.Duration
			requests := int64(-1)
			for requests < 0 {
				select {
				case requests = <-done:
				case <-time.After(10 * time.Millisecond):
					start := time.Now()
					got := in.notify(mailServer, notification(healthy, in.uids.next()))
					if got.status == http.StatusOK {
						took = append(took, time.Since(start))
					} else {
						took = append(took, patience)
					}
					tried.Add(1)
				}
			}
			slices.Sort(took)
			t.Logf("%d requests of attackers; %d notifications: half within %v, 99 %% within %v, all within %v",
				requests, len(took), took[len(took)/2], took[(len(took)-1)*99/100], took[len(took)-1])
			share := 50 // of a short flood on a busy machine
			if isLong() {
				share = 99
			}
			assert.LessOrEqual(t, took[(len(took)-1)*share/100], inTime, "within the time that Dovecot waits, %d %%", share)
			if name != "notifications that are taken" { // which are in front of this one
				in.deliverTo(t, mailServer, healthy)
			}
			assert.Equal(t, http.StatusOK, in.api(mailServer, http.MethodGet, "session", "", cookie).status)
		})
	}
}
