// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSpelling(t *testing.T) {
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
		"/%c0%a541":                                               "/a",
		"/ａ．．／％２ｆ":                                                `/a..\\`,
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
		s, _ := all.spell(nil, path)
		for i, c := range s {
			s[i] = max(c, removable) // what was never finished
		}
		require.Equal(t, want, string(s), path)
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

// There is no list of readings that could grow: a path has eight spellings at
// most, none much longer than itself, and the walk keeps five numbers for each
// segment of a guarded path. Nor is there a way back in a spelling that could
// become long: what it steps over is three characters at most.
func TestReadingsAreFew(t *testing.T) {
	t.Parallel()
	for name, path := range hostile() {
		count := 0
		for s := range spellings(path) {
			count++
			require.LessOrEqual(t, len(s), 3*len(path), name) // U+FDFA: 3 bytes, 18 characters, 7 in a spelling
			run := 0
			for _, c := range s {
				run++
				if c > removable {
					run = 0
				}
				require.LessOrEqual(t, run, 3, name)
			}
		}
		require.GreaterOrEqual(t, count, 1, name)
		require.LessOrEqual(t, count, 8, name)
		if strings.IndexFunc(path, func(r rune) bool { return r > 0x7F }) < 0 && !strings.ContainsAny(path, "fce") {
			require.Equal(t, 1, count, name)
		}
	}
	count := 0
	for range spellings("\xc0\xae\xe2\x00\x80\x80ı") {
		count++
	}
	require.Equal(t, 8, count, "the bound is reached")
}

// The same in allocations, for all of Match, and past the bound.
func TestMatchIsBounded(t *testing.T) {
	g, err := newGuarded("/push/api")
	require.NoError(t, err)
	paths := &Paths{guarded: []guarded{g, g}}
	for name, path := range hostile() {
		require.LessOrEqual(t, testing.AllocsPerRun(1, func() { paths.anyReading(path) }), 300.0, name)
		require.True(t, paths.anyReading(path+strings.Repeat("x", 16)), name)
	}
	require.False(t, paths.anyReading("/"+strings.Repeat("%78", maxPath/3)))
	require.True(t, paths.anyReading("/"+strings.Repeat("%78", maxPath/3)+"x"))
}
