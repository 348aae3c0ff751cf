// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// The child is this test binary, started again as another process.
const (
	childDir   = "DELIVERY_TEST_DIR"
	childFirst = "DELIVERY_TEST_FIRST" // the first number it accepts; empty: it only delivers
)

// recorder notes in a file what it takes. A line that was written outlives the
// process. Now and then it fails, so that some of it is parked.
type recorder struct {
	file  *os.File
	calls atomic.Int64
}

func (r *recorder) Deliver(_ context.Context, rec *queue.Record) Result {
	if r.calls.Add(1)%7 == 0 {
		return Result{Reason: "status_503"}
	}
	fmt.Fprintf(r.file, "delivered %s %s\n", rec.Body, rec.ID)
	return Result{Outcome: Delivered}
}

// childMain accepts and delivers until it is killed.
func childMain() int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, "child:", err); return 1 }
	dir := os.Getenv(childDir)
	file, err := os.OpenFile(filepath.Join(dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fail(err)
	}
	ctx := context.Background()
	log := slog.New(slog.DiscardHandler)
	q, err := queue.Open(ctx, queue.Config{
		Embedded: &queue.Embedded{Path: filepath.Join(dir, "queue")}, MaxBytes: 64 << 20, MaxAge: time.Hour, Logger: log,
	})
	if err != nil {
		return fail(err)
	}
	e, err := New(Config{Queue: q, Targets: []Target{{Name: "a", Deliverer: &recorder{file: file}}}, MaxAge: time.Hour, Logger: log})
	if err != nil {
		return fail(err)
	}
	if err := e.Start(ctx); err != nil {
		return fail(err)
	}
	var wg sync.WaitGroup
	if first, err := strconv.ParseInt(os.Getenv(childFirst), 10, 64); err == nil {
		var next atomic.Int64
		next.Store(first - 1)
		for range 8 {
			wg.Go(func() {
				for {
					n := int(next.Add(1))
					if _, err := q.Accept(ctx, numbered(n), time.Minute); err == nil {
						fmt.Fprintf(file, "accepted %d %s\n", n, numbered(n).ID)
					}
				}
			})
		}
	}
	fmt.Println("ready")
	wg.Wait()
	select {} // until it is killed
}

// startChild starts the process and returns what kills it.
func startChild(t *testing.T, dir, first string) (kill func()) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childDir+"="+dir, childFirst+"="+first)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "ready\n", line)
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

// The process is killed in the middle of its deliveries, again and again.
// Everything that was accepted is delivered at least once, and what comes
// again has the same identity.
func TestKilled(t *testing.T) {
	const rounds = 50
	dir := t.TempDir()
	for round := range rounds {
		kill := startChild(t, dir, strconv.Itoa(round*1_000_000))
		before, _, _ := readRecords(t, filepath.Join(dir, "log"))
		time.Sleep(time.Duration(5+round%10*5) * time.Millisecond) // chaos, not waiting
		if round%10 == 0 {                                         // a busy machine may accept nothing in so short a time
			require.Eventually(t, func() bool {
				accepted, _, _ := readRecords(t, filepath.Join(dir, "log"))
				return len(accepted) > len(before)+rounds/5
			}, time.Minute, 5*time.Millisecond)
		}
		kill()
	}
	kill := startChild(t, dir, "")
	defer kill()

	var accepted, delivered map[string]string
	var again int
	require.Eventually(t, func() bool {
		accepted, delivered, again = readRecords(t, filepath.Join(dir, "log"))
		for n := range accepted {
			if _, ok := delivered[n]; !ok {
				return false
			}
		}
		return true
	}, 2*time.Minute, 100*time.Millisecond)
	require.Greater(t, len(accepted), rounds)
	for n, id := range accepted {
		assert.Equal(t, id, delivered[n])
	}
	t.Logf("%d rounds: %d acknowledged, all delivered, %d of them again", rounds, len(accepted), again)
}

// readRecords reads the file. A notification that comes with two identities fails
// the test.
func readRecords(t *testing.T, path string) (accepted, delivered map[string]string, again int) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	accepted, delivered = make(map[string]string), make(map[string]string)
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		if len(words) != 3 || !strings.HasSuffix(line, "\n") {
			continue // the last one of a process that was killed
		}
		n, id := words[1], words[2]
		if words[0] == "accepted" {
			accepted[n] = id
			continue
		}
		if before, ok := delivered[n]; ok {
			require.Equal(t, before, id)
			again++
		}
		delivered[n] = id
	}
	return accepted, delivered, again
}
