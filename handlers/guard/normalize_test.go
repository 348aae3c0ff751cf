// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNormalize(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/AbC-_.~":          "/abc-_.~",
		"/%41%2f%5C\\":      `/a\\\`,
		"/%2541/%25252f":    `/a/\`,
		"/%%34%31":          "/a",
		"/%2%35%34%31":      "/a",
		"/%2525252541":      "/a",
		"/%u0041%U002F":     `/a\`,
		"/%25u0041":         "/a",
		"/100%/%4/%zz/%u00": "/100%/%4/%zz/%u00",
		"/+%2b%20":          "/   ",
		"/a\x00\x01\x7fb":   "/a\x00b",
		"/%\x0041":          "/a",
		"/%4%001":           "/a",
		"/%4%ff1":           "/a",
		"/%c0%af%c0%ae":     `/\.`,
		"/%fc%80%80%80%81%81%f8%80%80%81%81%f0%80%81%81%e0%81%81": "/aaaa",
		"/\xfd\xbf\xbf\xbf\xbf\xbfx":                              "/\x00x",
		"/\xf4\x90\x80\x80x":                                      "/\x00x",
		"/\xed\xa0\x80x%ud83d":                                    "/\x00x\x00",
		"/\xff\xfe\xf0\x9f\x80x":                                  "/\x00\x00x",
		"/%c0%00%af":                                              `/\`,
		"/ａ．．／":                                                   `/a..\`,
		"/‥/…":                                                    "/../...",
		"/→\u200b\xff\x80":                                        "/\x00",
		"/é":                                                      "/e\x00",
		"/\u212aıſ":                                               "/kis",
		"/\u2044\u2215\u2216":                                     `/\\\`,
		"/\u00a0":                                                 "/ ",
		"/%u00e9%uff41%u2025":                                     "/e\x00a..",
		"/%u0025%u00341":                                          "/a",
		"/x%ef%bd%81":                                             "/xa",
		"/%e3%80%80":                                              "/ ",
	} {
		var n normalizer
		out, ok := n.normalize(path)
		require.True(t, ok, path)
		got := ""
		for _, e := range out {
			got += string(max(e.c&^optional, removable)) // or never finished
		}
		require.Equal(t, want, got, path)
	}
}

// A path cannot be normalized if an escape may contain a non-ASCII character.
func TestNormalizeAmbiguous(t *testing.T) {
	t.Parallel()
	for _, path := range []string{
		"/％41", "/%４1", "/%4１", "/％４１", "/%４41", "/%4é1", "/%é41", "/%ｐ41", "/%4ｐ1", "/%ｕ0041", "/％u0041", "/%u0０41", "/%u00é41", "/%％41", "/％％41", "/%4\x001/%4ｐ\x001",
		"/%c0%a541", "/%4%c0%b1", "/%%e2%82%8141", "/%25ｐ41", "/%4ééé1", "/x%ab%４１",
	} {
		var n normalizer
		_, ok := n.normalize(path)
		require.False(t, ok, path)
	}
	for _, path := range []string{"/50% ｐ", "/50％", "/%é", "/%é/a1", "/%é.a1", "/%uééé", "/é%41", "/%41é", "/４１", "/％x41", "/％4", "/%ｐxab"} {
		var n normalizer
		_, ok := n.normalize(path)
		require.True(t, ok, path)
	}
}

// hostile are paths of maxPath bytes that are meant to cost a lot.
func hostile() map[string]string {
	paths := map[string]string{}
	for name, piece := range map[string]string{
		"slashes":              "/",
		"encoded slashes":      "%2f",
		"dots":                 "/..",
		"encoded dots":         "%2e%2e%2f",
		"segments":             "/x",
		"parameters":           ";",
		"parameters of each":   "/x;a%2f",
		"percents":             "%",
		"nested":               "%25",
		"nested twice":         "%2525",
		"hexadecimal":          "%f",
		"wide":                 "%u0025u0025",
		"controls":             "%00",
		"controls in escapes":  "%%002%005%0000",
		"not UTF-8":            "\xff",
		"not UTF-8, encoded":   "%ff%c0%e0%80",
		"begun sequences":      "\xfc\x80\x80\x80\x80",
		"begun and controls":   "\xfc\x00\x80\x00\x80\x00\x80\x00",
		"overlong":             "%fc%80%80%80%80%af",
		"overlong percents":    "%c0%a525",
		"long forms":           "\ufdfa",
		"fullwidth percents":   "\uff05\uff12\uff15",
		"all that has dialect": "\xc0\xae\xe2\x00\x80\x80ı",
		"nearly guarded":       "/push",
		"the guarded again":    "/push/x/../",
	} {
		paths[name] = "/" + strings.Repeat(piece, maxPath)[:maxPath-1]
	}
	// Escapes that wait for each other: the last character completes the last
	// one, that the one before, and so on.
	paths["chain"] = strings.Repeat("%3", maxPath/2-1) + "33"
	paths["wide chain"] = strings.Repeat("%u003", maxPath/5-1) + "33"
	return paths
}

// There is no list of interpretations that could grow: a path has one
// normalized form, not much longer than itself, and the walk keeps six numbers
// for each segment of a guarded path. Going back in it is short too: at most
// three removable elements follow each other.
func TestInterpretationsAreNotListed(t *testing.T) {
	t.Parallel()
	for name, path := range hostile() {
		var n normalizer
		out, _ := n.normalize(path)
		require.LessOrEqual(t, len(out), 3*len(path), name) // U+FDFA: 3 bytes, 18 characters, 7 when normalized
		run := 0
		for _, e := range out {
			run++
			if e.c > removable {
				run = 0
			}
			require.LessOrEqual(t, run, 3, name)
		}
	}
}

// The same in allocations, for all of Match, and past the bound.
func TestMatchIsBounded(t *testing.T) {
	g, err := newGuarded("/push/api")
	require.NoError(t, err)
	paths := &Paths{guarded: []guarded{g, g}}
	for name, path := range hostile() {
		require.LessOrEqual(t, testing.AllocsPerRun(1, func() { paths.anyInterpretation(path) }), 300.0, name)
		require.True(t, paths.anyInterpretation(path+strings.Repeat("x", 16)), name)
	}
	require.False(t, paths.anyInterpretation("/"+strings.Repeat("%78", maxPath/3)))
	require.True(t, paths.anyInterpretation("/"+strings.Repeat("%78", maxPath/3)+"xxx"))
}
