// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A child is this test binary, started again as another process.
const (
	childPart  = "QUEUE_TEST_CHILD" // which part it plays
	childPath  = "QUEUE_TEST_PATH"  // the directory of its queue
	childFirst = "QUEUE_TEST_FIRST" // the first number it accepts
)

var childParts = map[string]func() int{"open": childOpen, "load": childLoad}

func child(t *testing.T, part, path string, first int) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childPart+"="+part, childPath+"="+path, childFirst+"="+strconv.Itoa(first))
	cmd.Stderr = os.Stderr
	return cmd
}

func childConfig() Config {
	return Config{
		Embedded: &Embedded{Path: os.Getenv(childPath)}, MaxBytes: 64 << 20, MaxAge: time.Hour,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// childOpen only opens the queue.
func childOpen() int {
	q, err := Open(context.Background(), childConfig())
	if err != nil {
		fmt.Println(err)
		if errors.Is(err, ErrLocked) {
			return 3
		}
		return 1
	}
	_ = q.Close()
	return 0
}

// childLoad accepts for the targets "slow" and "fast", delivers to "fast", and
// changes the settings now and then, until it is killed. It tells what was
// acknowledged ("accepted 7") and delivered ("fast 7").
func childLoad() int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, "child:", err); return 1 }
	cfg := childConfig()
	q, err := Open(context.Background(), cfg)
	if err != nil {
		return fail(err)
	}
	if _, err := q.Use(context.Background(), []string{"slow", "fast"}); err != nil {
		return fail(err)
	}
	first, _ := strconv.Atoi(os.Getenv(childFirst))
	var (
		wg   sync.WaitGroup
		last atomic.Int64
	)
	last.Store(int64(first) - 1)
	for range 16 {
		wg.Go(func() {
			for {
				n := int(last.Add(1))
				if _, err := q.Accept(context.Background(), numbered(n), time.Minute); err != nil {
					fmt.Fprintln(os.Stderr, "child:", err)
					continue
				}
				fmt.Fprintln(os.Stdout, "accepted", n)
			}
		})
	}
	wg.Go(func() {
		r := q.NewReader("fast")
		for {
			g, err := take(context.Background(), r)
			if err != nil {
				continue
			}
			for _, r := range g.Records {
				fmt.Fprintln(os.Stdout, "fast", numberOf(r))
			}
			_ = g.Ack()
		}
	})
	wg.Go(func() {
		for i := 0; ; i++ {
			time.Sleep(40 * time.Millisecond)
			cfg.MaxBytes = int64(64+i%2) << 20
			cfg.Embedded = &Embedded{Path: cfg.Embedded.Path, Sync: time.Duration(i/2%2) * time.Second}
			if err := q.Reconcile(context.Background(), cfg); err != nil {
				fmt.Fprintln(os.Stderr, "child:", err)
			}
		}
	})
	wg.Wait()
	return 0
}

// runUntilKilled lets the child work for that long after its first word, then
// kills it. It returns the numbers it told of.
func runUntilKilled(t *testing.T, cmd *exec.Cmd, after time.Duration) (accepted, fast []int) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	defer func() { _ = cmd.Wait() }()
	watchdog := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	lines := bufio.NewScanner(out)
	for first := true; lines.Scan(); first = false {
		if first {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
		}
		var (
			word string
			n    int
		)
		if _, err := fmt.Sscan(lines.Text(), &word, &n); err != nil {
			continue // cut off in the middle
		}
		switch word {
		case "accepted":
			accepted = append(accepted, n)
		case "fast":
			fast = append(fast, n)
		}
	}
	return accepted, fast
}
