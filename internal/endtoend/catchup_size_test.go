// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"bufio"
	"flag"
	"fmt"
	"net"
	"net/textproto"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

var catchUpFull = flag.Bool("catchup.full", false, "test the catch-up at full size, on each Dovecot and over both ways")

// sized is how much of something there is.
func sized(small, full int) int {
	if *catchUpFull {
		return full
	}
	return small
}

// someWays runs a test on each Dovecot, over another way each, and at full size
// over both.
func someWays(t *testing.T, test func(t *testing.T, version dovecottest.Version, way registrar)) {
	t.Helper()
	if *catchUpFull {
		eachWay(t, test)
		return
	}
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		t.Parallel()
		test(t, version, registrars[slices.Index([]dovecottest.Version{dovecottest.V23, dovecottest.V24}, version)])
	})
}

// soon logs how long something took, and at full size requires a limit, which a
// machine that runs all tests at once cannot keep.
func soon(t *testing.T, what string, since time.Time, limit time.Duration) {
	t.Helper()
	took := time.Since(since)
	t.Logf("%s within %v", what, took.Round(10*time.Millisecond))
	if *catchUpFull {
		assert.Less(t, took, limit, what)
	}
}

// Caddy is down, and several mails come for each of many users, of whom Dovecot
// then forgets one. After its start each mail is told once, and soon.
func TestCatchUpOfMany(t *testing.T) {
	someWays(t, func(t *testing.T, version dovecottest.Version, way registrar) {
		const each = 2
		count := sized(10, 500)
		f, dovecot, h, names := startToHook(t, version, way, count+1)
		f.Kill()
		down := time.Now()
		for i := range each {
			deliverEach(t, dovecot, fmt.Sprint("mail ", i), names)
		}
		require.NoError(t, dovecot.Remove(names[count]))
		if *catchUpFull {
			time.Sleep(time.Until(down.Add(time.Minute)))
		}
		start := time.Now()
		f.start(t)
		h.requireOnce(t, count*each)
		soon(t, fmt.Sprintf("%d mails of %d users were told", count*each, count), start, time.Minute)
		sweep := f.catchUp(t)
		assert.Zero(t, sweep.Found)
		assert.Zero(t, sweep.Failed, "a user whom Dovecot does not know is no failure")
		h.requireOnce(t, count*each)
	})
}

// The newest of very many mails of a user are told, and the others are counted.
// What was there before the user was registered is not told.
func TestCatchUpOfHugeMailbox(t *testing.T) {
	someWays(t, func(t *testing.T, version dovecottest.Version, way registrar) {
		const count, most = 5, 50
		mails := sized(1000, 100_000)
		h := startHook(t)
		var dovecot *dovecottest.Server
		f := toHook(t, h, way, func(f *front) *dovecottest.Server {
			dovecot = dovecottest.Start(t, dovecottest.Config{
				Version: version, Users: users(count), NoDebugLog: true, Master: master, IMAPMetadata: true, NoFailureDelay: true,
				ExtraConfig: "mail_fsync = never\n", // else the mails take minutes
				Drivers:     []dovecottest.Driver{{URL: f.url("http"), Timeout: 10 * time.Second, MaxAttempts: 2}},
			})
			return dovecot
		})
		huge := users(count)[0].Name
		appendMany(t, dovecot, huge, "before", mails)
		f.start(t)
		names := f.registerAll(t, count)
		f.Kill()
		appendMany(t, dovecot, huge, "missed", mails)
		deliverEach(t, dovecot, "missed", names[1:])
		start := time.Now()
		f.start(t)
		h.requireOnce(t, most+count-1)
		soon(t, fmt.Sprintf("the newest of %d missed mails were told", mails), start, time.Minute)
		h.mu.Lock()
		for _, name := range names[1:] {
			assert.Contains(t, h.got, name+" missed")
			t.Logf("the mail of another user was told after %v", h.at[name+" missed"].Sub(start).Round(10*time.Millisecond))
		}
		for i := range most {
			assert.Contains(t, h.got, fmt.Sprintf("%s missed %d", huge, mails-1-i))
		}
		h.mu.Unlock()
		f.catchUp(t)
		assert.Contains(t, mustMetrics(t, f), fmt.Sprintf("catch_up_left_out_total{reason=\"too_many\"} %d\n", mails-most))
		h.requireOnce(t, most+count-1)
	})
}

// appendMany puts mails into a user's INBOX that look as if they were delivered,
// and that Dovecot does not report.
func appendMany(t *testing.T, dovecot *dovecottest.Server, user, subject string, mails int) {
	t.Helper()
	conn, err := net.Dial("tcp", dovecot.IMAPAddr())
	require.NoError(t, err)
	defer conn.Close()
	answers, out := textproto.NewReader(bufio.NewReader(conn)), bufio.NewWriter(conn)
	await := func(tag string) {
		t.Helper()
		require.NoError(t, out.Flush())
		for {
			line, err := answers.ReadLine()
			require.NoError(t, err)
			if strings.HasPrefix(line, tag+" ") {
				require.True(t, strings.HasPrefix(line, tag+" OK"), line)
				return
			}
		}
	}
	fmt.Fprintf(out, "a LOGIN %s pass\r\n", user)
	await("a")
	for first := 0; first < mails; first += 1000 {
		fmt.Fprint(out, "b APPEND INBOX")
		for i := first; i < min(first+1000, mails); i++ {
			mail := "Received: from somewhere\r\n" + string(message(fmt.Sprintf("%s %d", subject, i)))
			fmt.Fprintf(out, " {%d+}\r\n%s", len(mail), mail)
		}
		fmt.Fprint(out, "\r\n")
		await("b")
	}
}

// Mails arrive all the time while all users are swept again and again: each is
// told, and none was accepted twice.
func TestCatchUpWhileMailsArrive(t *testing.T) {
	someWays(t, func(t *testing.T, version dovecottest.Version, way registrar) {
		count, rate, lasts := sized(10, 100), sized(20, 200), sized(2, 30)
		f, dovecot, h, names := startToHook(t, version, way, count)
		const sessions = 10
		mails := rate * lasts
		start := time.Now()
		var delivering sync.WaitGroup
		for n := range sessions {
			delivering.Go(func() {
				session, err := dovecot.OpenLMTP()
				if !assert.NoError(t, err) {
					return
				}
				defer session.Close()
				for i := n; i < mails; i += sessions {
					time.Sleep(time.Until(start.Add(time.Duration(i) * time.Second / time.Duration(rate))))
					_, err := session.Deliver("alice@example.net", names[i%count:i%count+1], message(fmt.Sprint("mail ", i)))
					assert.NoError(t, err)
				}
			})
		}
		delivered := make(chan struct{})
		go func() {
			defer close(delivered)
			delivering.Wait()
		}()
		sweeps := 0
		for under := true; under; sweeps++ {
			f.catchUp(t)
			select {
			case <-delivered:
				under = false
			default:
			}
		}
		took := time.Since(start)
		f.catchUp(t)
		h.requireOnce(t, mails)
		t.Logf("%d mails in %v, %.0f/s, and %d sweeps, which found %d", mails, took.Round(time.Second), float64(mails)/took.Seconds(), sweeps, f.found())
		if *catchUpFull {
			assert.Zero(t, f.found(), "Dovecot reported them")
		}
	})
}

// Dovecot is away, so that sweeps fail, and they wait longer and longer. When it
// is back there is one at once.
func TestCatchUpWhenDovecotIsBack(t *testing.T) {
	someWays(t, func(t *testing.T, version dovecottest.Version, way registrar) {
		f, dovecot, h, names := startToHook(t, version, way, 2)
		require.NoError(t, dovecot.Unregister(names[0]))
		deliver(t, dovecot, "missed", names[0])
		require.NoError(t, dovecot.Stop())
		for range 4 { // without the command, the next one is in a minute
			_, err := f.command("catch-up", "--all")
			require.Error(t, err)
		}
		start := time.Now()
		require.NoError(t, dovecot.Restart(t.Context()))
		h.requireOnce(t, 1)
		soon(t, "a mail was notified that came before Dovecot was away", start, 30*time.Second)
		if *catchUpFull { // a machine that is busy with other tests may need the minute
			trigger := regexp.MustCompile(`found new mails.*"trigger":"(\w+)"`)
			require.Eventually(t, func() bool { return trigger.MatchString(f.Log()) }, waitTimeout, 50*time.Millisecond)
			assert.Equal(t, "mail_server_back", trigger.FindStringSubmatch(f.Log())[1])
		}
	})
}
