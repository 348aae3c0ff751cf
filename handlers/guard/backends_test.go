// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"math/rand/v2"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
)

// pieces are what random paths are made of.
var pieces = []string{
	"/", "preliminary", "push", "x", "PreLiMinary", "%70reliminary", "pre", "liminary", "prel%69", "minary", "pu", "sh",
	"%2f", "%2F", "%252f", "%5c", `\`, "%c0%af", "%e0%80%af", "%u002f", "%25u002f", "%ef%bc%8f", "／",
	"..", ".", "%2e", "%2e%2e", "%252e", "%c0%ae", "%u002e", "‥", "...",
	";", ";a=b", "%3b", "%253b", "?", "#", "%3f", "%23", "%253f",
	"%00", "%2500", "%01", "%0a", "\x00", "\n", "%ff", "\xff", "%c3", "%e2%80%8b", "\u200b", "%80",
	"%20", "%2520", " ", "+", "%2b", "%09",
	"%", "%25", "%2525", "2", "f", "5", "e", "u", "%2", "%u", "00", "%ef%bc%85", "%ef%bc%92",
	"ı", "ſ", "\u212a", "ｐ", "%c4%b1", "%c1%b0", "prelımınary", "puſh", "é", "%c3%a9",
}

// randomPath makes a path of a few different pieces, so that they meet.
func randomPath(guarded string, choose choose) string {
	few := []string{"/", "/", guarded, guarded[1:]}
	for range 1 + choose(6) {
		few = append(few, one(choose, pieces))
	}
	path := "/"
	for range 1 + choose(16) {
		path += one(choose, few)
	}
	return path
}

var guardedPaths = []string{"/preliminary", "/push/preliminary", "/push/push/x"}

// The oracle: a path that some backend takes for a guarded one is matched. A
// backend is any sequence of steps. Half of the paths are guarded ones in
// disguise and backends that see through it, the others are both random. How
// many get through to a guarded path is counted, so that the test cannot pass
// by finding none, and so is how many are not matched.
func TestPathsMatchAnyBackend(t *testing.T) {
	t.Parallel()
	rounds := 30_000
	if testing.Short() {
		rounds = 1000
	}
	for _, guarded := range guardedPaths {
		t.Run(guarded, func(t *testing.T) {
			t.Parallel()
			paths := newPaths(t, guarded)
			choose := rand.New(rand.NewPCG(8291, 8292)).IntN
			seen, reached, clear := 0, 0, 0
			for range rounds {
				hostile, undo := disguised(guarded+one(choose, []string{"", "/", "/x"}), choose)
				if checkBackend(t, paths, guarded, hostile, undo) {
					seen++
				}
				path := randomPath(guarded, choose)
				if !paths.Match(&url.URL{Path: path}) {
					clear++
				}
				for range 4 {
					if checkBackend(t, paths, guarded, path, randomBackend(choose)) {
						reached++
					}
				}
			}
			t.Logf("guarded: %d of %d in disguise, %d of %d random ones; not matched: %d", seen, rounds, reached, 4*rounds, clear)
			require.Greater(t, seen, rounds/2)
			require.Greater(t, reached, rounds/4)
			require.Greater(t, clear, rounds/20)
		})
	}
}

func randomBackend(choose choose) (backend []step) {
	for range 1 + choose(10) {
		backend = append(backend, one(choose, steps))
	}
	return backend
}

// checkBackend reports whether the backend takes path for a guarded one. It fails
// if that is so and it is not matched.
func checkBackend(t *testing.T, paths *guard.Paths, guarded, path string, backend []step) bool {
	t.Helper()
	result := run(backend, path)
	if !below(result, guarded) {
		return false
	}
	var names []string
	for _, step := range backend {
		names = append(names, step.name)
	}
	require.Truef(t, paths.Match(&url.URL{Path: path}), "%q by %q is %q", path, names, result)

	// As a server would have it from the wire, if it takes it at all.
	if u, err := url.ParseRequestURI(path); err == nil {
		result := run(backend, u.EscapedPath())
		require.Truef(t, !below(result, guarded) || paths.Match(u), "%#v by %q is %q", u, names, result)
	}
	return true
}

func newPaths(t testing.TB, patterns ...string) *guard.Paths {
	t.Helper()
	paths, err := guard.NewPaths(patterns...)
	require.NoError(t, err)
	return paths
}

// The first argument is a path as it comes. The second one chooses a backend
// for it, and another path and its backend. A path that is taken for a guarded
// one must match, and nothing may panic.
func FuzzPathsMatch(f *testing.F) {
	for _, trick := range tricks {
		f.Add(trick, []byte("\x00\x01\x02\x03"))
	}
	for _, path := range elsewhere {
		f.Add(path, []byte("\x03\x02\x01\x00\x05\x06\x07"))
	}
	f.Fuzz(func(t *testing.T, path string, recipe []byte) {
		choose := chooseBytes(recipe)
		guarded := one(choose, guardedPaths)
		paths := newPaths(t, guarded)

		checkBackend(t, paths, guarded, path, randomBackend(choose))
		hostile, undo := disguised(guarded, choose)
		checkBackend(t, paths, guarded, hostile, undo)
		checkBackend(t, paths, guarded, randomPath(guarded, choose), randomBackend(choose))

		for _, u := range []*url.URL{{Path: path}, {RawPath: path}, {Path: "/x", RawPath: path}, {Opaque: path}} {
			_ = paths.Match(u)
		}
		if r, err := http.NewRequest(http.MethodPut, path, http.NoBody); err == nil {
			_ = paths.Match(r.URL)
		}
	})
}
