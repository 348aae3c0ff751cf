// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"

	"github.com/stretchr/testify/require"
)

// storeFiles are the files of the stream of accepted notifications.
func storeFiles(t *testing.T, s *testStore, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.config.Embedded.Path, "jetstream", "$G", "streams", DefaultPrefix, pattern))
	require.NoError(t, err)
	require.NotEmpty(t, files, pattern)
	slices.Sort(files)
	return files
}

// halfDelivered leaves a closed queue of 100 records, of which "fast" has had
// the first half and "slow" none.
func halfDelivered(t *testing.T) *testStore {
	t.Helper()
	s := embeddedStore(t)
	q := s.open(t, "fast", "slow")
	fast := q.NewReader("fast")
	for n := range 100 {
		accept(t, q, numbered(n))
		if n < 50 {
			require.NoError(t, next(t, fast).Ack())
		}
	}
	require.NoError(t, q.Close())
	return s
}

// A crash while the settings of a stream or a target change can leave them and
// their checksum different; the notifications are all there nevertheless.
func TestDamagedSettings(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"meta.sum", "meta.inf", "obs/fast/meta.sum", "obs/slow/meta.sum", "obs/fast/meta.inf"} {
		t.Run(strings.ReplaceAll(pattern, "/", " "), func(t *testing.T) {
			s := halfDelivered(t)
			for _, file := range storeFiles(t, s, pattern) {
				require.NoError(t, os.WriteFile(file, []byte("damaged"), 0o600))
			}
			q := s.open(t, "fast", "slow")
			slow, fast := drain(t, q, "slow"), drain(t, q, "fast")
			for n := range 100 {
				require.Equal(t, 1, slow[identity(n)], n)
				if n >= 50 {
					require.Equal(t, 1, fast[identity(n)], n)
				}
			}
		})
	}
}

// A file that was being replaced when the machine crashed may be empty. What
// was delivered before may come again then, and nothing is missing.
func TestEmptyPosition(t *testing.T) {
	t.Parallel()
	s := halfDelivered(t)
	for _, file := range storeFiles(t, s, "obs/*/o.dat") {
		require.NoError(t, os.Truncate(file, 0))
	}
	q := s.open(t, "fast", "slow")
	slow, fast := drain(t, q, "slow"), drain(t, q, "fast")
	for n := range 100 {
		require.Positive(t, slow[identity(n)], n)
		require.True(t, n < 50 || fast[identity(n)] > 0, n)
	}
}

// What a crash of the machine cut off the end of the store costs the group
// that was cut, and nothing before it. With "sync always" that group was never
// acknowledged.
func TestTruncatedStore(t *testing.T) {
	t.Parallel()
	for _, cut := range []int64{1, 20, 60} {
		for _, index := range []string{"", "index.db"} {
			t.Run(fmt.Sprintf("%d bytes, lost %s", cut, index), func(t *testing.T) {
				s := embeddedStore(t)
				q := s.open(t, "a")
				for n := range 100 {
					accept(t, q, numbered(n))
				}
				require.NoError(t, q.Close())
				if index != "" {
					for _, file := range storeFiles(t, s, "msgs/"+index) {
						require.NoError(t, os.Remove(file))
					}
				}
				blocks := storeFiles(t, s, "msgs/*.blk")
				last := blocks[len(blocks)-1]
				info, err := os.Stat(last)
				require.NoError(t, err)
				require.NoError(t, os.Truncate(last, info.Size()-cut))

				q = s.open(t, "a")
				accept(t, q, numbered(100))
				seen := drain(t, q, "a")
				require.Equal(t, 1, seen[identity(100)], "what was accepted after the repair")
				delete(seen, identity(100))
				requireRange(t, seen, 0, 99)
			})
		}
	}
}

// smallBlocks is a size of the queue with which each block has some 30 KB: those
// of larger ones have megabytes.
const smallBlocks = 125_000

// damageable makes a closed queue with everything in it: what was delivered to
// one target and not to the other, parked records, dead letters, a table and a
// log. Numbers from..to-1 are in several blocks.
func damageable(t *testing.T) *testStore {
	t.Helper()
	s := embeddedStore(t)
	s.config.MaxBytes = smallBlocks
	q := s.open(t, "fast", "slow")
	fast := q.NewReader("fast")
	for n := range 60 {
		accept(t, q, bulky(n))
		if n < 20 {
			require.NoError(t, next(t, fast).Ack())
		}
	}
	for n := 100; n < 110; n++ {
		require.NoError(t, q.Park(t.Context(), "slow", Parked{Records: []Record{bulky(n)}, Due: time.Now(), Reason: "test"}))
		require.NoError(t, q.DeadLetter(t.Context(), "slow", new(bulky(n+100)), "test"))
		_, err := q.Table("things").Put(t.Context(), Key{"thing", fmt.Sprint(n)}, []byte("value"))
		require.NoError(t, err)
		require.NoError(t, q.Log("events", LogLimits{Age: time.Hour, Bytes: 1 << 20}).Append(t.Context(), []byte("entry")))
	}
	require.NoError(t, q.Close())
	require.Greater(t, len(storeFiles(t, s, "msgs/*.blk")), 3)
	return s
}

// bulky is a record that takes some room, so that there are several blocks.
func bulky(n int) Record {
	r := numbered(n)
	r.Body = append(r.Body, body(1500)...)
	return r
}

// unclean makes a store look as if Caddy had been killed: the index is that of
// a time before.
func unclean(t *testing.T, s *testStore) {
	t.Helper()
	indices, err := filepath.Glob(filepath.Join(s.config.Embedded.Path, "jetstream", "$G", "streams", "*", "msgs", "index.db"))
	require.NoError(t, err)
	for _, index := range indices {
		require.NoError(t, os.Remove(index))
	}
}

func flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	require.NoError(t, err)
	b[0] ^= 4
	_, err = f.WriteAt(b[:], at)
	require.NoError(t, err)
}

// One flipped bit costs the group that it is in, whatever comes behind it, and
// that is said. The block is kept as it was.
func TestFlippedBit(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"clean", "unclean"} {
		t.Run(end, func(t *testing.T) {
			s := halfDelivered(t)
			block := storeFiles(t, s, "msgs/*.blk")[0]
			data, err := os.ReadFile(block)
			require.NoError(t, err)
			at := bytes.Index(data, numbered(70).Body)
			require.Positive(t, at)
			flip(t, block, int64(at))
			damaged, err := os.ReadFile(block)
			require.NoError(t, err)
			if end == "unclean" {
				unclean(t, s)
			}
			q := s.open(t, "fast", "slow")
			for n := range 100 {
				if n == 70 {
					continue
				}
				accept(t, q, numbered(1000+n))
			}
			require.Equal(t, Damage{Files: 1, Lost: 1}, q.Damage())
			slow, fast := drain(t, q, "slow"), drain(t, q, "fast")
			for n := range 100 {
				want := 1
				if n == 70 {
					want = 0
				}
				require.Equal(t, want, slow[identity(n)], "slow, %d", n)
				require.Equal(t, want, slow[identity(1000+n)], "slow, %d", n)
				require.Equal(t, want, fast[identity(1000+n)], "fast, %d", n)
				if n >= 50 {
					require.Equal(t, want, fast[identity(n)], "fast, %d", n)
				}
			}
			kept, err := filepath.Glob(filepath.Join(s.config.Embedded.Path, damagedDir, "*", "jetstream", "$G", "streams", DefaultPrefix, "msgs", "1.blk"))
			require.NoError(t, err)
			require.Len(t, kept, 1)
			copied, err := os.ReadFile(kept[0])
			require.NoError(t, err)
			require.Equal(t, damaged, copied)

			require.NoError(t, q.Close())
			q = s.open(t, "fast", "slow")
			require.Zero(t, q.Damage(), "it is mended")
			requireWaiting(t, q, "slow", 0)
		})
	}
}

// What a target has had is not lost, also where it cannot be read any more.
func TestFlippedBitInWhatWasDelivered(t *testing.T) {
	t.Parallel()
	s := embeddedStore(t)
	q := s.open(t, "a")
	held := q.NewReader("a")
	for n := range 10 {
		accept(t, q, numbered(n))
		if n < 5 {
			require.NoError(t, next(t, held).Ack())
		}
	}
	// Returned just now, so that nothing is removed.
	g := next(t, held)
	require.NoError(t, g.Nak())
	require.NoError(t, q.Close())
	block := storeFiles(t, s, "msgs/*.blk")[0]
	data, err := os.ReadFile(block)
	require.NoError(t, err)
	at := bytes.Index(data, numbered(2).Body)
	require.Positive(t, at)
	flip(t, block, int64(at))
	q = s.open(t, "a")
	require.Equal(t, Damage{Files: 1}, q.Damage())
	requireRange(t, drain(t, q, "a"), 5, 10)
}

// A position that is not one keeps nothing from starting: its target gets what
// is kept.
func TestUnreadablePosition(t *testing.T) {
	t.Parallel()
	zeros := func(data []byte) []byte { return make([]byte, len(data)) }
	for name, change := range map[string]func([]byte) []byte{
		"zeros":      zeros,
		"one byte":   func(data []byte) []byte { return data[:1] },
		"cut short":  func(data []byte) []byte { return data[:3] },
		"of another": func([]byte) []byte { return []byte("something else") },
		"many":       func([]byte) []byte { return append([]byte{22, 2, 1, 1, 2, 2}, bytes.Repeat([]byte{0xff}, 9)...) },
	} {
		t.Run(name, func(t *testing.T) {
			s := halfDelivered(t)
			for _, file := range storeFiles(t, s, "obs/*/o.dat") {
				data, err := os.ReadFile(file)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(file, change(data), 0o600))
			}
			q := s.open(t, "fast", "slow")
			require.Equal(t, Damage{Files: 2}, q.Damage())
			accept(t, q, numbered(100))
			requireRange(t, drain(t, q, "slow"), 0, 101)
			fast := drain(t, q, "fast")
			for n := 50; n <= 100; n++ {
				require.Positive(t, fast[identity(n)], n)
			}
		})
	}
}

// A position beyond the end of the queue is set back, whatever made it so: the
// numbers it counts as delivered are given out again.
func TestPositionBeyondTheEnd(t *testing.T) {
	t.Parallel()
	for _, settings := range []string{"kept", "lost"} {
		for _, interval := range []time.Duration{0, time.Minute} {
			t.Run(fmt.Sprintf("settings %s, sync %v", settings, interval), func(t *testing.T) {
				s := embeddedStore(t)
				s.config.Embedded.Sync = interval
				q := s.open(t, "fast", "slow")
				acceptRange(t, q, 0, 20)
				require.NoError(t, q.Close())
				streams := filepath.Join(s.config.Embedded.Path, "jetstream", "$G", "streams", DefaultPrefix)
				old := filepath.Join(t.TempDir(), "msgs")
				require.NoError(t, os.CopyFS(old, os.DirFS(filepath.Join(streams, "msgs"))))

				q = s.open(t, "fast", "slow")
				for n := range 30 {
					accept(t, q, numbered(20+n))
				}
				drain(t, q, "fast")
				require.NoError(t, q.Close())
				require.NoError(t, os.RemoveAll(filepath.Join(streams, "msgs")))
				require.NoError(t, os.CopyFS(filepath.Join(streams, "msgs"), os.DirFS(old)))
				if settings == "lost" {
					for _, file := range storeFiles(t, s, "obs/*/meta.inf") {
						require.NoError(t, os.Truncate(file, 0))
					}
				}

				q = s.open(t, "fast", "slow")
				for n := range 30 {
					accept(t, q, numbered(100+n))
				}
				fast, slow := drain(t, q, "fast"), drain(t, q, "slow")
				for n := range 30 {
					require.Equal(t, 1, fast[identity(100+n)], "fast, %d", n)
					require.Equal(t, 1, slow[identity(100+n)], "slow, %d", n)
				}
				for n := range 20 {
					require.Equal(t, 1, slow[identity(n)], "slow, %d", n)
				}
			})
		}
	}
}

// variantSeed starts the variants of TestDamagedFiles.
const variantSeed = 1

// No damage to any file of the store keeps the queue from opening, and what it
// promises afterwards it holds.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	variants := 200
	if testing.Short() {
		variants = 20
	}
	s := damageable(t)
	var files []string
	require.NoError(t, filepath.WalkDir(s.config.Embedded.Path, func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			name, _ := filepath.Rel(s.config.Embedded.Path, path)
			files = append(files, name)
		}
		return err
	}))
	require.Greater(t, len(files), 30)
	for seed := range uint64(variants) {
		// Every file in turn.
		file := files[int(seed)%len(files)]
		random := rand.New(rand.NewPCG(variantSeed, seed))
		t.Run(fmt.Sprintf("%d %s", seed, strings.ReplaceAll(file, string(filepath.Separator), " ")), func(t *testing.T) {
			t.Parallel()
			damaged := embeddedStore(t)
			damaged.config.MaxBytes = s.config.MaxBytes
			require.NoError(t, os.CopyFS(damaged.config.Embedded.Path, os.DirFS(s.config.Embedded.Path)))
			killed := random.IntN(2) == 0
			if killed {
				unclean(t, damaged)
			}
			kind := damageFile(t, filepath.Join(damaged.config.Embedded.Path, file), random)
			t.Logf("%s: %s", file, kind)
			q := damaged.open(t, "fast", "slow")
			accept(t, q, numbered(500), numbered(501))
			_, err := q.Table("things").Put(t.Context(), Key{"thing", "new"}, []byte("value"))
			require.NoError(t, err)
			require.NoError(t, q.Log("events", LogLimits{Age: time.Hour, Bytes: 1 << 20}).Append(t.Context(), []byte("new")))
			lost := int(q.Damage().Lost)
			slow, fast := drain(t, q, "slow"), drain(t, q, "fast")
			shorter := strings.HasSuffix(file, DefaultPrefix+"/msgs/1.blk") && (kind == "random" || strings.HasPrefix(kind, "cut short"))
			requireMost(t, slow, 0, 60, lost, shorter, killed, "slow")
			requireMost(t, fast, 20, 60, lost, shorter, killed, "fast")
			for n := 500; n < 502; n++ {
				require.Equal(t, 1, slow[identity(n)], "slow, accepted afterwards")
				require.Equal(t, 1, fast[identity(n)], "fast, accepted afterwards")
			}
			require.NoError(t, q.Close())
		})
	}
}

// requireMost requires all of from..to-1 but for as many as are lost. After a
// crash nobody knows of those that are missing at the end, and where the first
// block is shorter than it was, of those at the beginning.
func requireMost(t *testing.T, seen map[notification.Identity]int, from, to, lost int, shorter, killed bool, target string) {
	t.Helper()
	var missing []int
	for n := from; n < to; n++ {
		if seen[identity(n)] == 0 {
			missing = append(missing, n)
		}
	}
	for shorter && len(missing) > 0 && missing[0] == from {
		missing, from = missing[1:], from+1
	}
	for killed && len(missing) > 0 && missing[len(missing)-1] == to-1 {
		missing, to = missing[:len(missing)-1], to-1
	}
	require.LessOrEqual(t, len(missing), lost, "%s: missing %v, said to be lost: %d", target, missing, lost)
}

// damageFile does to a file what disks and crashes do.
func damageFile(t *testing.T, file string, random *rand.Rand) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) { // an index, which unclean has removed
		return "removed"
	}
	require.NoError(t, err)
	var kind string
	var from, to int
	if len(data) > 0 {
		from = random.IntN(len(data))
		to = from + 1 + random.IntN(len(data)-from)
	}
	switch choice := random.IntN(6); {
	case len(data) == 0 || choice == 0:
		kind, data = "random", make([]byte, 1+random.IntN(200))
		for i := range data {
			data[i] = byte(random.Uint32())
		}
	case choice == 1:
		kind = fmt.Sprintf("cut short to %d bytes", from)
		data = data[:from]
	case choice == 2:
		kind = "zeros"
		clear(data)
	case choice == 3:
		kind = fmt.Sprintf("zeros from %d to %d", from, to)
		clear(data[from:to])
	default:
		kind = fmt.Sprintf("bit %d of byte %d flipped", random.IntN(8), from)
		data[from] ^= 1 << random.IntN(8)
	}
	require.NoError(t, os.WriteFile(file, data, 0o600))
	return kind
}
