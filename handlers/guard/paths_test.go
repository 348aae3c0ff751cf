// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package guard_test

import (
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
)

// tricks are request targets that some server takes for /preliminary or below.
var tricks = []string{
	// as it is
	"/preliminary", "/preliminary/", "/preliminary/http-notify/v1/notify", "/preliminary/../x", "/preliminary?x", "/preliminary/?/x",

	// letter case, and letters that are the same for some
	"/PRELIMINARY/x", "/Preliminary", "/preliMinarY", "/prelıminary", "/prel%c4%b1minary", "/PREL%c4%b0MINARY", "/ｐreliminary", "/%ef%bd%90reliminary",

	// escapes, once and more than once
	"/%70reliminary", "/%50reliminary", "/prelim%69nary/x", "/%70%72%65%6c%69%6d%69%6e%61%72%79", "/preliminary%2fx", "/%2fpreliminary", "/%2Fpreliminary%2F",
	"/%2570reliminary", "/%252570reliminary", "/%25252525252525252570reliminary", "/%25%37%30reliminary", "/%2%35%37%30reliminary", "/%%37%30reliminary",
	"/preliminary%252fx", "/preliminary%25252fx", "/preliminary%255cx",
	"/%u0070reliminary", "/%25u0070reliminary", "/%U0070reliminary", "/preliminary%u002fx", "/preliminary%25u002fx", "/preliminary%25%75002fx", "/preliminary%u2215x", "/preliminary%uff0fx",

	// slashes
	"//preliminary", "///preliminary//x", "/x//..//preliminary", "//host/preliminary", "///host/preliminary", "//user@host:80/preliminary", "/%2fhost/preliminary", `/\host/preliminary`,
	`/\preliminary`, `/preliminary\x`, `\preliminary`, "/%5cpreliminary", "/preliminary%5cx", "/preliminary%5Cx", `/x\..\preliminary`, "/x%5c..%5cpreliminary", "/preliminary%ef%bc%8fx", "/preliminary／x",

	// dots
	"/./preliminary", "/../preliminary", "/../../../preliminary", "/x/../preliminary", "/x/y/../../preliminary", "/x/./../preliminary", "/./././preliminary/./x",
	"/x/%2e%2e/preliminary", "/x/.%2e/preliminary", "/x/%2E./preliminary", "/%2e/preliminary", "/x/%252e%252e/preliminary", "/x%2f..%2fpreliminary", "/x%2f%2e%2e%2fpreliminary",
	"/x%252f%252e%252e%252fpreliminary", "/x%2fy/../preliminary", "/x%2fy%2fz/../preliminary", "/x%2fy/%2e%2e/preliminary", "/x/..%2fpreliminary", "/x%2f../preliminary", "/x/y%2f..%2f../preliminary",
	"/preliminary/%2e%2e/x/..%2f", "/x/../preliminary/../y", "/x/..//preliminary", "/x/%u002e%u002e/preliminary", "/x/%25u002e%25u002e/preliminary", "/x/../y/../preliminary",

	// parameters
	"/preliminary;v=1/x", "/preliminary;", "/preliminary;/", "/preliminary;a;b=c/x", "/preliminary%3bv=1/x", "/preliminary%253b/x", "/x/..;/preliminary", "/x/..;a=b/preliminary", "/;a/preliminary",
	"/;/preliminary", "/x;/../preliminary", "/x/..%3b/preliminary", "/x/%2e%2e;/preliminary", "/x/.;/..;/preliminary", "/x;%2f../../preliminary", "/x/..;%2fpreliminary", "/.;/preliminary", "/;/x/..;/preliminary",
	"/preliminary;%2f..%2f../x", "/x/;/../preliminary", "/x/;a/..;b/preliminary", "/;a%2fx/h/preliminary",

	// ends
	"/preliminary%3fx", "/preliminary%3Fx/../..", "/preliminary%23x", "/preliminary%253fx", "/preliminary#x", "/x%3f/../preliminary", "/x%23/../preliminary",
	"/preliminary%00", "/preliminary%00x", "/preliminary%00/../x", "/preliminary%0a", "/preliminary%0d%0ax", "/preliminary%2500.html",

	// what some take out
	"/prelim%00inary", "/%00preliminary", "/pre%01lim%7finary", "/prelim%0ainary", "/pre%09liminary", "/x/.%00./preliminary", "/x/..%00/preliminary", "/x/%00../preliminary", "/%0a/preliminary",
	"/prelim%e2%80%8binary", "/prelim\u00adinary", "/prelim%ffinary", "/prelim%c3inary", "/prelim%80inary", "/prelim%e2%80inary", "/p%e2%80%7f%80reliminary", "/prelimiéary/..%00;/../preliminary",
	"/%7%000reliminary", "/%2%0057%00%30reliminary", "/preliminary%2%00fx", "/%7%ff0reliminary",

	// dots and blanks at the end of a segment
	"/preliminary.", "/preliminary./x", "/preliminary.../x", "/preliminary%20", "/preliminary%20/x", "/preliminary%2e/x", "/preliminary.%20./x", "/preliminary%20%3bv/x", "/preliminary+/x", "/preliminary%2b/x",
	"/%20preliminary", "/x/..%20/preliminary", "/x/...%20/preliminary", "/%20/preliminary", "/preliminary%c2%a0/x", "/preliminary%e3%80%80/x", "/preliminary.%00/x",

	// UTF-8 that is longer than need be
	"/x%c0%af..%c0%afpreliminary", "/x/%c0%ae%c0%ae/preliminary", "/preliminary%c0%afx", "/preliminary%e0%80%afx", "/preliminary%f0%80%80%afx", "/preliminary%f8%80%80%80%afx", "/preliminary%fc%80%80%80%80%afx",
	"/%c1%b0reliminary", "/%e0%81%b0reliminary", "/x/%c0%ae./preliminary", "/x%25c0%25af..%25c0%25afpreliminary", "/prelim%c0%aeinary", "/prelim%c0%afinary", "/prelim%c0%bbinary", "/prelim／inary", "/x/%c0%00%ae%c0%ae/preliminary", "/preliminary%c1%9cx", "/preliminary%c0%80x",
	"/%c0%a570reliminary", "/%c0%a5%c0%b7%c0%b0reliminary", "/preliminary%c0%bbv=1/x", "/preliminary%c0%2fx", "/x/%e2%80%a5/preliminary",

	// all together
	"/%2e%252e;x/%5c%c0%ae%00./;/%2550r%u0065L%69mi%6Eary%20;v/x", "//h;%2f/x%252f..%5c/..%3b/%09PRE%25%36%43iminary.%00", "/x%2f..;/%2f%2e%5c/%c0%ae%c0%ae;%2f%EF%BC%B0reliminary%253b", "/a%2fb;c/%2e%00%2e%20/prelim%c0%aeınary%3f",
}

// elsewhere are request targets that no server takes for it.
var elsewhere = []string{
	"/", "/x", "/preliminaryx", "/preliminaryx/preliminary", "/xpreliminary", "/preliminar", "/preliminarry", "/x/preliminary", "/api/preliminary", "/x/preliminary/..", "/x/./preliminary", "/x//preliminary",
	"/x/y/../preliminary", "/x%2fpreliminary", "/x%2fy/preliminary", "/x%5cpreliminary", "/x;/preliminary", "/x/;a/preliminary", "/;a/x/y/preliminary", "/x/%2e/preliminary", "/x/y/%2e%2e/preliminary", "/x/../y/preliminary",
	"/preliminary-x", "/preliminary_x", "/preliminary:x", "/preliminary,x", "/preliminary=x", "/preliminary@x", "/preliminary.x", "/preliminary.json", "/preliminary%2ex", "/preliminary%20x", "/preliminary%25", "/preliminary%2570",
	"/pre/liminary", "/pre%2fliminary", "/pre;liminary", "/pre.liminary", "/pre%20liminary", "/%3fpreliminary", "/x%3f/preliminary", "/%25/preliminary", "/%/preliminary", "/%u/preliminary", "/.x/preliminary", "/..x/preliminary",
	"/mail/%20list", "/mail/INBOX%2fWork/..%2f1", "/mail/Entw%c3%bcrfe", "/mail/Entwürfe;v=1", "/caf%c3%a9/preliminary", "/caf\xe9/preliminary", "/ajax/login?action=login&path=/preliminary", "/x#/preliminary",
	"/appsuite/api/oauth/grant?redirect=%2fpreliminary", "/servlet/dav/caldav/Y2FsOi8vMC8zMQ", "/.well-known/caldav", "/drive/a+b", "/p%72eliminarie",
}

func TestPathsMatch(t *testing.T) {
	t.Parallel()
	paths := newPaths(t, "/preliminary/*")
	for _, target := range tricks {
		for _, u := range urlsOf(target) {
			require.Truef(t, paths.Match(u), "%s: %#v", target, u)
		}
	}
	for _, target := range elsewhere {
		for _, u := range urlsOf(target) {
			require.Falsef(t, paths.Match(u), "%s: %#v", target, u)
		}
	}
}

// urlsOf gives what target may be when it comes to the guard.
func urlsOf(target string) []*url.URL {
	path, query, _ := strings.Cut(target, "?")
	// What a server that does not decode has, or one that changed Path alone.
	urls := []*url.URL{{Path: path, RawQuery: query}, {Path: "/x", RawPath: path, RawQuery: query}}
	if u, err := url.ParseRequestURI(target); err == nil {
		urls = append(urls, u)
	}
	if u, err := url.ParseRequestURI("http://host" + target); err == nil {
		urls = append(urls, u)
	}
	if u, err := url.Parse("https://host" + target); err == nil {
		urls = append(urls, u)
	}
	return urls
}

func TestPathsMatchOfSeveralSegments(t *testing.T) {
	t.Parallel()
	paths := newPaths(t, "/push/api/", "/Admin")
	for _, target := range []string{
		"/push/api", "/push/api/x", "/push/%61pi", "/push%2fapi", `/push\api`, "/push//api", "/push/./api", "/push/x/../api", "/push/x/y/../../api", "/push;v=1/api;v=2", "/push;v=1/x/..;/api",
		"/x/../push/api", "/push/../push/api", "/push/api/../../x", "/push/api/../api", "/push/push/../api", "/x/push/../../push/api", "/push/x%2fy/../api", "/push./api./", "/push/%00/api", "//h/push/api",
		"/push/../x/../push/y/../api", "/push/..%2fpush/api", "/push/x/..%252fapi", "/admin", "/ADMIN/x", "/push/../admin", "/push/api2/../../admin",
	} {
		for _, u := range urlsOf(target) {
			require.Truef(t, paths.Match(u), "%s: %#v", target, u)
		}
	}
	for _, target := range []string{
		"/push", "/push/", "/api", "/push/apix", "/pushapi", "/push/x/api", "/push/api2", "/x/push/api", "/push/x/y/../api", "/push/push/api", "/push/x/y/..%2fapi", "/push%00/api2", "/push/x%2fapi", "/x/admin",
	} {
		for _, u := range urlsOf(target) {
			require.Falsef(t, paths.Match(u), "%s: %#v", target, u)
		}
	}
}

// Targets that are no path, as net/http parses them.
func TestPathsMatchOddTargets(t *testing.T) {
	t.Parallel()
	paths := newPaths(t, "/preliminary")
	for target, want := range map[string]bool{
		"http://h/preliminary":      true,
		"http://h//preliminary":     true,
		"http:///preliminary":       true,
		"http:////preliminary":      true,
		"x:/preliminary":            true,
		"x:/x":                      false,
		"mailto:x":                  true, // Opaque: whatever follows may be a path for somebody
		"http:preliminary":          true,
		"http:%2fpreliminary":       true,
		"http:x":                    true,
		"http://h":                  false,
		"http://h?/preliminary":     false,
		"http://preliminary/x":      false,
		"http://preliminary@host/x": false,
		"*":                         false,
		"//preliminary":             true,
		"//h/preliminary":           true,
		"//preliminary/x":           true,
	} {
		u, err := url.ParseRequestURI(target)
		require.NoError(t, err, target)
		require.Equalf(t, want, paths.Match(u), "%s: %#v", target, u)
	}
	require.True(t, paths.Match(nil))
	require.False(t, paths.Match(&url.URL{}))
	require.True(t, paths.Match(&url.URL{Path: "preliminary"}))
	require.True(t, paths.Match(&url.URL{Path: "/x", Opaque: "//h/preliminary"}))
	require.True(t, paths.Match(&url.URL{Path: "/preliminary", RawPath: "/x"}), "RawPath is not that of Path")
	require.True(t, paths.Match(&url.URL{Path: "/x", RawPath: "/preliminary"}), "RawPath is not that of Path")
}

func TestPathsThatAreEverything(t *testing.T) {
	t.Parallel()
	for name, paths := range map[string]*guard.Paths{
		"*": newPaths(t, "*"), "/*": newPaths(t, "/*"), "one of many": newPaths(t, "/preliminary", "/*", "/x"), "none": newPaths(t), "zero": {}, "nil": nil,
	} {
		for _, u := range []*url.URL{nil, {}, {Path: "/"}, {Path: "*"}, {Path: "/x"}, {Opaque: "x"}, {Path: "/%"}} {
			require.True(t, paths.Match(u), name)
		}
	}
}

func TestNewPathsErrors(t *testing.T) {
	t.Parallel()
	for pattern, reason := range map[string]string{
		"":                              "must start with a slash and name a path",
		"/":                             "must start with a slash and name a path",
		"//":                            "empty segment",
		"//*":                           "empty segment",
		"preliminary":                   "must start with a slash",
		"preliminary/*":                 "must start with a slash",
		"*.php":                         "must start with a slash",
		"https://h/x":                   "must start with a slash",
		"/preliminary*":                 "a * must follow a slash",
		"**":                            "a * must follow a slash",
		"/preliminary/**":               "a * must follow a slash",
		"/*/preliminary":                "has a character",
		"/*/*":                          "has a character",
		"/x*/y":                         "has a character",
		"/%70reliminary":                "has a character",
		"/preliminary;v=1":              "has a character",
		"/preliminary?x":                "has a character",
		"/preliminary#x":                "has a character",
		`/preliminary\x`:                "has a character",
		"/{env.PATH}":                   "has a character",
		"/pre liminary":                 "has a character",
		"/pre+liminary":                 "has a character",
		"/pre\x00liminary":              "has a character",
		"/prélim":                       "has a character",
		"/pre\xfflim":                   "has a character",
		"//preliminary":                 "empty segment",
		"/x//y":                         "empty segment",
		"/x//":                          "empty segment",
		"/x//*":                         "empty segment",
		"/../preliminary":               "ends in a dot",
		"/./preliminary":                "ends in a dot",
		"/x/..":                         "ends in a dot",
		"/x/../*":                       "ends in a dot",
		"/preliminary.":                 "ends in a dot",
		"/x/" + strings.Repeat("y", 64): "more than 63",
	} {
		_, err := guard.NewPaths("/x", pattern)
		require.ErrorContains(t, err, reason, pattern)
		require.ErrorContains(t, err, "/path/*", pattern)
	}
	_, err := guard.NewPaths("*", "nonsense")
	require.ErrorContains(t, err, `path "nonsense"`, "what is everything does not hide an error")
}

// Every way to write a character of a guarded path that Unicode has for it
// must be taken for it: what Go and Java compare without case.
func TestPathsMatchAnyCase(t *testing.T) {
	t.Parallel()
	same := map[rune][]rune{} // by letter
	for r := rune(0); r <= unicode.MaxRune; r++ {
		others := []rune{unicode.ToLower(r), unicode.ToLower(unicode.ToUpper(r))}
		for other := unicode.SimpleFold(r); other != r; other = unicode.SimpleFold(other) {
			others = append(others, other)
		}
		for _, other := range others {
			if 'a' <= other && other <= 'z' && !slices.Contains(same[other], r) {
				same[other] = append(same[other], r)
			}
		}
	}
	require.Len(t, same, 26)
	require.Equal(t, []rune("Iiİı"), same['i'])
	require.Equal(t, []rune("Kk\u212a"), same['k'])
	for letter, forms := range same {
		paths := newPaths(t, "/"+string(letter))
		for _, r := range forms {
			require.Truef(t, paths.Match(&url.URL{Path: "/" + string(r)}), "%c is %c", r, letter)
			require.Truef(t, paths.Match(&url.URL{Path: "/" + url.PathEscape(string(r))}), "%c is %c", r, letter)
		}
	}
}

// The comparison of an unambiguous path has the same result as the close look
// at it.
func TestPathsMatchUnambiguousAsClosely(t *testing.T) {
	t.Parallel()
	paths := newPaths(t, "/preliminary", "/push/api")
	for _, path := range []string{"/preliminary", "/preliminary/", "/Preliminary/x.y/z", "/preliminaryx", "/preliminary.x", "/push/api", "/push/apix", "/push", "/x/preliminary", "/PUSH/API/a@b", "/~x/", "/push/api/x/"} {
		u := &url.URL{Path: path}
		closely := &url.URL{Path: path, RawPath: path}
		require.Equal(t, paths.Match(closely), paths.Match(u), path)
	}
}

func TestPathsMatchAllocations(t *testing.T) {
	paths := newPaths(t, "/preliminary/*", "/push/api")
	for _, path := range []string{"/", "/preliminary/http-notify/v1/notify", "/appsuite/api/mail.x_y~z", "/push/api/user@example.com", "/x" + strings.Repeat("/abc", 1000)} {
		u := &url.URL{Path: path}
		require.Zero(t, testing.AllocsPerRun(100, func() { paths.Match(u) }), path)
	}
	// An ambiguous path costs the state of the walk for each guarded path.
	for _, target := range tricks {
		u := &url.URL{Path: target}
		require.LessOrEqual(t, testing.AllocsPerRun(10, func() { paths.Match(u) }), 40.0, target)
	}
}

func TestPathsMatchAtOnce(t *testing.T) {
	t.Parallel()
	paths := newPaths(t, "/preliminary")
	done := make(chan bool)
	for range 4 {
		go func() {
			matched := true
			for _, target := range tricks {
				matched = matched && paths.Match(urlsOf(target)[0])
			}
			done <- matched
		}()
	}
	for range 4 {
		require.True(t, <-done)
	}
}
