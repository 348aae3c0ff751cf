// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/powercut"
)

const (
	childSync   = "QUEUE_TEST_SYNC"     // how often its queue syncs
	cutRounds   = "POWERCUT_ROUNDS"     // how many cuts a test makes
	fewestCuts  = 2                     // where nobody says
	syncLate    = 3 * time.Second       // how late a sync may be, on a busy machine
	otherSync   = 50 * time.Millisecond // how often another program syncs something on the same disk
	shortestCut = time.Second
	longestCut  = 4 * time.Second
)

func init() {
	childParts["cut"] = childCut
	childParts["rest"] = childRest
	childParts["log"] = childLog
	childParts["end"] = childEnd
}

func childQueue() (*Queue, error) {
	cfg := childConfig()
	cfg.Embedded.Sync, _ = time.ParseDuration(os.Getenv(childSync))
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	q, err := Open(context.Background(), cfg)
	if err == nil {
		_, err = q.Use(context.Background(), []string{"slow", "fast"})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
	}
	return q, err
}

// childCut accepts for the targets "slow", which takes nothing, and "fast",
// which delivers most, parks some and gives up others, until it is killed.
func childCut() int {
	q, err := childQueue()
	if err != nil {
		return 1
	}
	first, _ := strconv.Atoi(os.Getenv(childFirst))
	var (
		wg   sync.WaitGroup
		last atomic.Int64
	)
	last.Store(int64(first) - 1)
	for range 8 {
		wg.Go(func() {
			for {
				n := int(last.Add(1))
				if _, err := q.Accept(context.Background(), numbered(n), time.Minute); err == nil {
					fmt.Fprintln(os.Stdout, "accepted", n)
				}
				time.Sleep(2 * time.Millisecond)
			}
		})
	}
	for _, r := range []*Reader{q.NewReader("fast"), q.NewParkedReader("fast")} {
		wg.Go(func() {
			for {
				if g, err := take(context.Background(), r); err == nil && deliverSome(q, g) == nil {
					_ = g.Ack()
				}
			}
		})
	}
	wg.Wait()
	return 0
}

func deliverSome(q *Queue, g *Group) error {
	var failed []Record
	for _, r := range g.Records {
		switch n := numberOf(r); {
		case n%13 == 0 && r.Attempts > 0:
			if err := q.DeadLetter(context.Background(), "fast", &r, "test"); err != nil {
				return err
			}
		case n%7 == 0 && r.Attempts == 0, n%13 == 0:
			r.Attempts++
			failed = append(failed, r)
		default:
			fmt.Fprintln(os.Stdout, "fast", n)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return q.Park(context.Background(), "fast", Parked{Records: failed, Due: time.Now(), Reason: "test"})
}

// childRest tells what is left, and closes the queue.
func childRest() int {
	q, err := childQueue()
	if err != nil {
		return 1
	}
	for _, r := range []*Reader{q.NewReader("slow"), q.NewReader("fast"), q.NewParkedReader("fast")} {
		for empty := 0; empty < 3; {
			groups, err := r.Take(context.Background(), maxPull, 1<<30)
			switch {
			case errors.Is(err, ErrNoMore):
				empty++
			case err != nil:
				fmt.Fprintln(os.Stderr, "child:", err)
				return 1
			}
			for _, g := range groups {
				for _, record := range g.Records {
					fmt.Fprintln(os.Stdout, r.target, numberOf(record))
				}
				_ = g.Ack()
			}
		}
	}
	for letter, err := range q.DeadLetters(context.Background(), DeadLetterFilter{}) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			return 1
		}
		fmt.Fprintln(os.Stdout, "fast", numberOf(letter.Record))
	}
	if err := q.Close(); err != nil {
		return 1
	}
	return 0
}

// ledger is what children told: when each number was accepted, or that a
// target had it.
type ledger struct {
	accepted map[int]time.Time
	had      map[string]map[int]int
}

// read reads until the child ends, and calls begun with what it accepts.
func (l *ledger) read(out io.Reader, begun func()) (accepted []int) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var (
			word string
			n    int
		)
		if _, err := fmt.Sscan(lines.Text(), &word, &n); err != nil {
			continue // cut off in the middle
		}
		if word == "accepted" {
			l.accepted[n] = time.Now()
			accepted = append(accepted, n)
			begun()
			continue
		}
		if l.had[word] == nil {
			l.had[word] = make(map[int]int)
		}
		l.had[word][n]++
	}
	return accepted
}

// A power cut under load, again and again on the same directory, loses nothing
// that was accepted, or where the queue is synced at intervals what was
// accepted in the last one.
func TestPowerCut(t *testing.T) {
	t.Parallel()
	for _, fileSystem := range []string{"ext4", "xfs"} {
		for _, interval := range []time.Duration{0, time.Second} {
			t.Run(fileSystem+", sync "+interval.String(), func(t *testing.T) {
				t.Parallel()
				testPowerCut(t, fileSystem, interval)
			})
		}
	}
}

func testPowerCut(t *testing.T, fileSystem string, interval time.Duration) {
	disk := powercut.New(t, fileSystem)
	rounds := fewestCuts
	if n, err := strconv.Atoi(os.Getenv(cutRounds)); err == nil {
		rounds = n
	}
	start := func(part string, first int) (*exec.Cmd, io.Reader) {
		cmd := child(t, part, filepath.Join(disk.Dir, "queue"), first)
		cmd.Env = append(cmd.Env, childSync+"="+interval.String())
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		disk.Do(func() { err = cmd.Start() })
		require.NoError(t, err)
		return cmd, out
	}
	book := ledger{accepted: make(map[int]time.Time), had: make(map[string]map[int]int)}
	var promised []int
	cuts := make(map[int]time.Duration)
	for round := range rounds {
		cmd, out := start("cut", round*1_000_000)
		cut := make(chan time.Time, 1)
		begun := make(chan struct{})
		go func() {
			<-begun
			length := shortestCut + rand.N(longestCut-shortestCut)
			if interval > 0 {
				length += interval + syncLate
			}
			for deadline := time.Now().Add(length); time.Now().Before(deadline); time.Sleep(otherSync) {
				syncSomething(disk)
			}
			cut <- time.Now()
			disk.Cut(t)
			_ = cmd.Process.Kill()
		}()
		accepted := book.read(out, sync.OnceFunc(func() { close(begun) }))
		_ = cmd.Wait()
		require.NotEmpty(t, accepted, "the queue did not open")
		disk.Restore(t)
		at := <-cut
		for _, n := range accepted {
			// While the power goes away the kernel may still say that something
			// is synced.
			cuts[n] = at.Sub(book.accepted[n])
			if interval == 0 && cuts[n] > 0 || cuts[n] > interval+syncLate {
				promised = append(promised, n)
			}
		}
	}
	cmd, out := start("rest", 0)
	book.read(out, func() {})
	require.NoError(t, cmd.Wait())
	require.NotEmpty(t, promised)
	for _, target := range []string{"slow", "fast"} {
		missing, again := 0, 0
		for _, n := range promised {
			if book.had[target][n] == 0 {
				missing++
				t.Logf("%s: %d is missing, which was accepted %v before a cut", target, n, cuts[n])
			}
		}
		for _, times := range book.had[target] {
			again += times - 1
		}
		t.Logf("%s: %d accepted, %d of them promised, %d missing; %d came again", target, len(book.accepted), len(promised), missing, again)
		assert.Zero(t, missing, target)
	}
}

// syncSomething is another program on the same disk: what it syncs takes along
// to the disk what others wrote, but not all of it.
func syncSomething(disk *powercut.Disk) {
	disk.Do(func() {
		f, err := os.Create(filepath.Join(disk.Dir, "other"))
		if err != nil {
			return
		}
		defer f.Close()
		_, _ = f.WriteString("something")
		_ = f.Sync()
	})
}

// childLog writes a log, and tells the numbers that its reader gets, until it is
// killed.
func childLog() int {
	q, err := childQueue()
	if err != nil {
		return 1
	}
	log := q.Log("events", testLimits)
	go func() {
		for {
			_ = log.Append(context.Background(), []byte("entry"))
		}
	}()
	err = log.Follow(context.Background(), func(s LogState) uint64 { return s.First - 1 },
		func(e LogEntry) { fmt.Fprintln(os.Stdout, "seen", e.Seq) }, func() {})
	fmt.Fprintln(os.Stderr, "child:", err)
	return 1
}

// childEnd tells the last number of the log.
func childEnd() int {
	q, err := childQueue()
	if err != nil {
		return 1
	}
	last, err := q.Log("events", testLimits).Last(context.Background())
	fmt.Fprintln(os.Stdout, "end", last)
	if err = errors.Join(err, q.Close()); err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		return 1
	}
	return 0
}

// What somebody read of a log has its number for good: after a power cut the log
// does not give it out again, however seldom the queue is synced.
func TestPowerCutOfLog(t *testing.T) {
	t.Parallel()
	disk := powercut.New(t, "ext4")
	start := func(part string) (*exec.Cmd, *bufio.Scanner) {
		cmd := child(t, part, filepath.Join(disk.Dir, "queue"), 0)
		cmd.Env = append(cmd.Env, childSync+"=1h")
		out, err := cmd.StdoutPipe()
		require.NoError(t, err)
		disk.Do(func() { err = cmd.Start() })
		require.NoError(t, err)
		return cmd, bufio.NewScanner(out)
	}
	number := func(lines *bufio.Scanner, word string) (n uint64) {
		require.True(t, lines.Scan(), "%s is not told", word)
		_, err := fmt.Sscanf(lines.Text(), word+" %d", &n)
		require.NoError(t, err, lines.Text())
		return n
	}
	var seen uint64
	for range 2 {
		cmd, lines := start("log")
		for range 200 {
			seen = number(lines, "seen")
		}
		disk.Cut(t)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		disk.Restore(t)
		cmd, lines = start("end")
		require.GreaterOrEqual(t, number(lines, "end"), seen)
		require.NoError(t, cmd.Wait())
	}
}
