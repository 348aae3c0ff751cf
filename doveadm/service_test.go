// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
)

// get is a call that is safe to make twice, once one that is not.
func get(t *testing.T, c *doveadm.Client) error {
	_, err := c.MetadataGet(t.Context(), alice, key)
	return err
}

func once(t *testing.T, c *doveadm.Client) error {
	_, err := c.Raw(t.Context(), "mailboxMetadataForget", nil)
	return err
}

func inService(c *doveadm.Client) (list []bool) {
	for _, e := range c.Endpoints() {
		list = append(list, e.InService)
	}
	return list
}

func TestRoundRobin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{}, "a", "b", "c")
		for range 6 {
			require.NoError(t, get(t, c))
		}
		assert.Equal(t, "a:ok b:ok c:ok a:ok b:ok c:ok", n.outcomes())
		n.host("b").set(refusing)
		for range 4 {
			require.NoError(t, get(t, c))
		}
		assert.Equal(t, "a:ok b:unreachable c:ok a:ok c:ok", n.outcomes())
	})
}

// An endpoint that leaves service is asked after check_interval whether it is
// back, and not before.
func TestBackAfterCheckInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{}, "a", "b")
		a := n.host("a")
		a.set(refusing)
		require.NoError(t, get(t, c))
		state := c.Endpoints()[0]
		require.False(t, state.InService)
		require.ErrorIs(t, state.Reason, doveadm.ErrUnreachable)
		require.Equal(t, time.Now(), state.Since)

		time.Sleep(67 * time.Second) // the first probe, which fails
		assert.Equal(t, []bool{false, true}, inService(c))
		a.set(up)
		time.Sleep(40 * time.Second)
		assert.Equal(t, []bool{false, true}, inService(c))
		assert.Empty(t, a.Requests())
		time.Sleep(27 * time.Second)
		assert.Equal(t, []bool{true, true}, inService(c))
		assert.Equal(t, map[string]int{"": 1}, a.Requests())
		assert.NoError(t, c.Endpoints()[0].Reason)
		assert.Contains(t, n.log.String(), "a DoveAdm endpoint leaves service")
		assert.Contains(t, n.log.String(), "a DoveAdm endpoint is in service again")

		n.outcomes()
		for range 4 {
			require.NoError(t, get(t, c))
		}
		assert.Contains(t, n.outcomes(), "a:ok")
	})
}

func TestCheckIntervalHasJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{}, "a", "b")
		waits := make(map[time.Duration]bool)
		for range 5 {
			n.host("a").set(refusing)
			require.NoError(t, get(t, c))
			require.NoError(t, get(t, c))
			n.host("a").set(up)
			began := c.Endpoints()[0].Since
			for !c.Endpoints()[0].InService {
				time.Sleep(time.Second)
			}
			waits[c.Endpoints()[0].Since.Sub(began)] = true
		}
		assert.Greater(t, len(waits), 1)
		for wait := range waits {
			assert.InDelta(t, 60, wait.Seconds(), 6.1)
		}
	})
}

// What an endpoint does, the result of a call that may be made twice, of one
// that may not, and whether the endpoint stays in service.
func TestMovingOn(t *testing.T) {
	for _, test := range []struct {
		name          string
		do            func(*host)
		twice, single string // outcomes
		want          error  // of the one that may not
		stays         bool   // in service
		took          time.Duration
	}{
		{"refuses connections", func(h *host) { h.set(refusing) }, "a:unreachable b:ok", "a:unreachable b:unknown_command", doveadm.ErrUnknownCommand, false, 0},
		{"packets disappear", func(h *host) { h.set(swallowed) }, "a:unreachable b:ok", "a:unreachable b:unknown_command", doveadm.ErrUnknownCommand, false, 3 * time.Second},
		{"does not answer", (*host).hang, "a:timeout b:ok", "a:timeout", doveadm.ErrTimeout, true, 10 * time.Second},
		{"closes", func(h *host) { h.Interfere(closes) }, "a:closed b:ok", "a:closed", doveadm.ErrNoAnswer, true, 0},
		{"breaks", func(h *host) { h.Interfere(breaks) }, "a:broken b:ok", "a:broken", doveadm.ErrBroken, true, 0},
		{"answers nothing at all", (*host).freeze, "a:timeout b:ok", "a:timeout", doveadm.ErrTimeout, false, 10 * time.Second},
		{"fails with everything", func(h *host) { h.answerAll(503) }, "a:server_error b:ok", "a:server_error", doveadm.ErrServer, false, 0},
		{"refuses the secret", func(h *host) { h.answer(401) }, "a:bad_secret b:ok", "a:bad_secret b:unknown_command", doveadm.ErrUnknownCommand, false, 0},
		{"has another path", func(h *host) { h.answer(404) }, "a:not_served b:ok", "a:not_served b:unknown_command", doveadm.ErrUnknownCommand, false, 0},
		{"redirects", func(h *host) { h.answer(307) }, "a:not_served b:ok", "a:not_served b:unknown_command", doveadm.ErrUnknownCommand, false, 0},
		{"fails once", func(h *host) { h.answer(503) }, "a:server_error b:ok", "a:server_error", doveadm.ErrServer, true, 0},
		{"talks nonsense", func(h *host) { h.answer(200) }, "a:unexpected b:ok", "a:unexpected", doveadm.ErrUnexpected, true, 0},
		{"refuses the request", func(h *host) { h.answer(400) }, "a:invalid_request", "a:invalid_request", doveadm.ErrInvalidRequest, true, 0},
		{"tells an early hint", func(h *host) { h.Interfere(hints) }, "a:ok", "a:unknown_command", doveadm.ErrUnknownCommand, true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, c := newNetwork(t, doveadm.Config{}, "a", "b")
				test.do(n.host("a"))
				began := time.Now()
				_ = get(t, c)
				assert.Equal(t, test.twice, n.outcomes())
				assert.Equal(t, test.took, time.Since(began))
				time.Sleep(6 * time.Second) // a probe finds out
				assert.Equal(t, []bool{test.stays, true}, inService(c))
			})
			synctest.Test(t, func(t *testing.T) {
				n, c := newNetwork(t, doveadm.Config{}, "a", "b")
				test.do(n.host("a"))
				err := once(t, c)
				assert.Equal(t, test.single, n.outcomes())
				assert.ErrorIs(t, err, test.want)
			})
		})
	}
}

func closes(_ http.ResponseWriter, _ *http.Request, command string) bool {
	if command != "" {
		panic(http.ErrAbortHandler)
	}
	return false
}

func breaks(w http.ResponseWriter, _ *http.Request, command string) bool {
	if command == "" {
		return false
	}
	w.Header().Set("Content-Length", "100")
	fmt.Fprint(w, "[[")
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

func hints(w http.ResponseWriter, _ *http.Request, _ string) bool {
	w.WriteHeader(http.StatusEarlyHints)
	return false
}

// One user makes Dovecot fail in every way there is, as often as you like. The
// endpoint stays in service for the others.
func TestOneUserFails(t *testing.T) {
	for name, fail := range map[string]func(w http.ResponseWriter, r *http.Request){
		"hangs":          func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"fails":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"talks nonsense": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "???") },
		"breaks":         func(w http.ResponseWriter, r *http.Request) { breaks(w, r, "command") },
		"closes":         func(w http.ResponseWriter, r *http.Request) { closes(w, r, "command") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n, c := newNetwork(t, doveadm.Config{}, "a")
				n.host("a").Interfere(func(w http.ResponseWriter, r *http.Request, command string) bool {
					if command != "mailboxMetadataGet" {
						return false
					}
					fail(w, r)
					return true
				})
				for range 10 {
					require.Error(t, get(t, c))
					synctest.Wait()
					require.NoError(t, c.MetadataSet(t.Context(), "bob@example.com", key, "x"), "another user")
				}
				assert.Equal(t, []bool{true}, inService(c))
				assert.NotContains(t, n.log.String(), "leaves service")
			})
		})
	}
}

// With all endpoints out a call fails at once, and says why each is out. They
// are asked soon whether one is back.
func TestAllOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{}, "a", "b")
		n.host("a").set(refusing)
		require.NoError(t, get(t, c))
		n.host("b").answer(http.StatusUnauthorized)
		time.Sleep(10 * time.Second)
		require.Error(t, get(t, c))

		began := time.Now()
		err := get(t, c)
		require.Equal(t, began, time.Now())
		var unavailable *doveadm.UnavailableError
		require.ErrorAs(t, err, &unavailable)
		require.Len(t, unavailable.Endpoints, 2)
		assert.ErrorIs(t, err, doveadm.ErrUnreachable)
		assert.ErrorIs(t, err, doveadm.ErrBadSecret)
		assert.EqualError(t, err, "doveadm: no endpoint is in service"+
			"; a:8080, out for 10s: dial tcp: connection refused: "+doveadm.ErrUnreachable.Error()+
			"; b:8080, out for 0s: status 401: "+doveadm.ErrBadSecret.Error())
		n.outcomes()
		require.Error(t, once(t, c))
		assert.Empty(t, n.outcomes(), "nothing is sent")

		n.host("a").set(up)
		time.Sleep(1200 * time.Millisecond)
		assert.True(t, c.Endpoints()[0].InService)
		require.NoError(t, get(t, c))
	})
}

// While all are out they are asked after 1, 2, 4 s and so on, but no less often
// than every check_interval.
func TestProbesWhileAllAreOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{CheckInterval: 10 * time.Second}, "a")
		a := n.host("a")
		a.Interfere(func(w http.ResponseWriter, _ *http.Request, _ string) bool {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		})
		require.Error(t, get(t, c))
		time.Sleep(66 * time.Second) // at once, and after 1, 3, 7, 15, 25, 35, 45, 55, 65 s
		assert.InDelta(t, 10, a.Requests()[""], 1)
		a.Interfere(nil)
		time.Sleep(11 * time.Second)
		require.NoError(t, get(t, c))
	})
}

// The caller's own impatience says nothing about an endpoint.
func TestContextEndsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{}, "a", "b")
		for name, do := range map[string]func(*host){"hangs": (*host).hang, "swallowed": func(h *host) { h.set(swallowed) }} {
			do(n.host("a"))
			do(n.host("b"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			began := time.Now()
			_, err := c.MetadataGet(ctx, alice, key)
			require.ErrorIs(t, err, context.DeadlineExceeded, name)
			assert.Equal(t, time.Second, time.Since(began), name)
			cancel()
		}
		assert.Equal(t, []bool{true, true}, inService(c))
	})
}

// Visiting many users takes its time, and says nothing about the endpoint.
func TestMasksMayTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{}, "a")
		n.host("a").Interfere(func(http.ResponseWriter, *http.Request, string) bool {
			time.Sleep(5 * time.Minute)
			return false
		})
		_, err := c.MetadataGetMask(t.Context(), "*", key)
		require.NoError(t, err)
		n.host("a").hang()
		_, err = c.MetadataGetMask(t.Context(), "*", key)
		require.ErrorIs(t, err, doveadm.ErrTimeout)
		assert.Equal(t, []bool{true}, inService(c))
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{}, "a", "b")
		n.host("a").set(refusing)
		require.NoError(t, get(t, c))
		n.host("b").Interfere(func(http.ResponseWriter, *http.Request, string) bool {
			time.Sleep(time.Second)
			return false
		})
		done := make(chan error)
		go func() { done <- get(t, c) }()
		synctest.Wait()
		c.Close() // waits for the probing
		c.Close()
		require.ErrorIs(t, get(t, c), doveadm.ErrClientClosed)
		require.NoError(t, <-done, "it was under way")
		time.Sleep(time.Hour)
		assert.Empty(t, n.host("a").Requests())
	})
}

// One of two endpoints has another secret: no call fails.
func TestOneWrongSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, c := newNetwork(t, doveadm.Config{}, "a", "b")
		other := doveadmtest.NewDovecot(doveadmtest.Config{APISecret: "other", Users: []string{alice}})
		n.host("a").server.Handler = other
		require.NoError(t, get(t, c))
		require.NoError(t, get(t, c))
		assert.Equal(t, []string{"a:bad_secret", "b:ok", "b:ok"}, strings.Fields(n.outcomes()))
		time.Sleep(70 * time.Second)
		assert.Equal(t, []bool{false, true}, inService(c))
		assert.ErrorIs(t, c.Endpoints()[0].Reason, doveadm.ErrBadSecret)
	})
}
