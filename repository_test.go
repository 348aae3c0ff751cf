// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecotpush_test

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const module = "github.com/dovecotpush/caddy-dovecot-push"

// layers are the rooms of the repository from the bottom to the top. A
// package imports only what is below it, or belongs to its own room.
var layers = []string{
	"internal/cafile",
	"internal/jitter",
	"internal/lograte",
	"internal/network",
	"internal/recent",
	"internal/username",
	"internal/dovecotconfig",
	"internal/properties",
	"internal/migrate",
	"internal/doveconf",
	"internal/adminapi",
	"internal/doctor",
	"internal/printable",
	"caddymodule/command", // a client of the admin API, which needs nothing of the app
	"doveadm",
	"internal/imap",
	"internal/authcache",
	"internal/throttle",
	"internal/admission",
	"internal/notification",
	"caddymodule/option",
	"caddymodule/firstuse",
	"internal/outbound",
	"internal/queue",
	"internal/eventlog",
	"internal/subscription",
	"internal/lease",
	"internal/registration",
	"internal/catchup",
	"internal/action",
	"internal/sealed",
	"internal/delivery",
	"handlers/page", // its texts are in notifications, too
	"caddymodule/target",
	"handlers",
	"caddymodule",
	"", // the package for xcaddy
	"examples",
	"cmd",
}

// testKits may import anything, and only tests and benchmarks import them.
var testKits = []string{
	"doveadm/doveadmtest", "internal/caddytestkit", "internal/delivery/device/devicetest", "internal/delivery/targettest", "internal/dovecottest", "internal/attack", "internal/clustertest", "internal/endtoend",
	"internal/apachetest", "internal/faultydisk", "internal/freeport", "internal/powercut", "internal/pushtest", "internal/queue/natsleak", "internal/queue/queuetest", "internal/rawhttp", "internal/testlog", "bench", "demo",
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func TestImportsPointOneWay(t *testing.T) {
	packages := listPackages(t)
	require.NotEmpty(t, packages)
	for _, p := range packages {
		room, known := roomOf(p.ImportPath)
		if !assert.True(t, known, "%s belongs to no room: add it to the layers of this test and to the map in CONTRIBUTING.md", p.ImportPath) || room < 0 {
			continue
		}
		for _, imported := range p.Imports {
			other, own := roomOf(imported)
			switch {
			case own && p.ImportPath == module+"/doveadm":
				assert.Equal(t, module+"/internal/properties", imported, "doveadm is usable on its own")
			case own && other < 0:
				assert.Fail(t, "production code imports a test kit", "%s imports %s", p.ImportPath, imported)
			case own:
				assert.LessOrEqual(t, other, room, "%s imports %s, which is above it", p.ImportPath, imported)
			case strings.HasPrefix(imported, "github.com/caddyserver/"):
				assert.True(t, strings.HasPrefix(layers[room], "caddymodule/") || room >= indexOf("caddymodule"),
					"%s imports Caddy (%s); only what is below caddymodule, and cmd, may", p.ImportPath, imported)
			case room == indexOf("internal/notification"):
				assert.NotContains(t, imported, ".", "%s imports %s; it uses the standard library only", p.ImportPath, imported)
			}
		}
	}
}

// roomOf returns the index of the layer that a package is in, or -1 for a test
// kit; known is false for a package that is not in this repository, or in no
// room of it.
func roomOf(importPath string) (room int, known bool) {
	path, own := strings.CutPrefix(importPath+"/", module+"/")
	if !own {
		return 0, false
	}
	for _, kit := range testKits {
		if strings.HasPrefix(path, kit+"/") {
			return -1, true
		}
	}
	for i, layer := range layers {
		if layer == "" && path == "" || layer != "" && strings.HasPrefix(path, layer+"/") {
			return i, true
		}
	}
	return 0, false
}

func indexOf(layer string) int {
	for i, l := range layers {
		if l == layer {
			return i
		}
	}
	panic("no layer " + layer)
}

func listPackages(t *testing.T) []goPackage {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	require.NoError(t, err)
	var packages []goPackage
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
}

func TestEveryFileNamesItsLicense(t *testing.T) {
	eachGoFile(t, func(path string, source []byte) {
		assert.True(t, strings.HasPrefix(string(source),
			"// Copyright The caddy-dovecot-push Authors\n// SPDX-License-Identifier: Apache-2.0\n\n"), path)
	})
}

func TestEveryPackageIsDocumentedOnce(t *testing.T) {
	docs := make(map[string][]string)
	eachGoFile(t, func(path string, source []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.PackageClauseOnly|parser.ParseComments)
		require.NoError(t, err)
		dir := filepath.Dir(path)
		if _, ok := docs[dir]; !ok {
			docs[dir] = nil
		}
		if file.Doc != nil {
			docs[dir] = append(docs[dir], path)
		}
	})
	for dir, files := range docs {
		assert.Len(t, files, 1, "package documentation of %s", dir)
	}
}

// The handlers show types of internal packages: nobody outside can rely on them.
func TestHandlersPromiseNothing(t *testing.T) {
	eachGoFile(t, func(path string, source []byte) {
		if !strings.HasPrefix(path, "handlers/") || strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, source, parser.PackageClauseOnly|parser.ParseComments)
		require.NoError(t, err)
		if file.Doc != nil {
			assert.Contains(t, file.Doc.Text(), "no promise of stability before v1", path)
		}
	})
}

// A newcomer finds what to do by the names of files: the table in CONTRIBUTING.md
// names at most five for each task, and they exist.
func TestTwelveTasks(t *testing.T) {
	text, err := os.ReadFile("CONTRIBUTING.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(text), "\n## Twelve tasks, and the files to open\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	rows := regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]*`+"`"+`[^|]*) \|$`).FindAllStringSubmatch(table, -1)
	require.Len(t, rows, 12)
	for _, row := range rows {
		files := 0
		for _, name := range regexp.MustCompile("`([^`<> ]+\\.[a-z]+)`").FindAllStringSubmatch(row[2], -1) {
			files++
			assert.FileExists(t, name[1], row[1])
		}
		assert.Positive(t, files, row[1])
		assert.LessOrEqual(t, files, 5, row[1])
	}
}

func eachGoFile(t *testing.T, visit func(path string, source []byte)) {
	t.Helper()
	eachFile(t, func(path string, source []byte) {
		if filepath.Ext(path) == ".go" {
			visit(path, source)
		}
	})
}

// retired are phrases that read as translated, and what to write instead.
var retired = map[string]string{
	`\banew\b`:                               "again",
	`\bso far\b`:                             "yet, or until now",
	`\b(?:is|are|was|were) told (?:of|that)`: "is called with, is notified of",
	`\bby (?:itself|themselves)\b`:           "automatically, alone",
	`\bIn (?:comes?|goe?s?) (?:a|an|the)\b`:  "one sentence that says what the package does",
	`\b[Oo]ut (?:comes?|goe?s?) (?:a|an)\b`:  "one sentence that says what the package does",
	`\b(?:tells|says) whether\b`:             "reports whether",
	`\b[Ww]hat (?:came|comes) of\b`:          "the result of",
	`\bhow it stands\b`:                      "the state of",
	`\b[Ww]hoever\b`:                         "anyone who, the user who",
	`\ball the same\b`:                       "nothing, or still",
}

// lineBreak is between two words of a comment or a page.
var lineBreak = regexp.MustCompile(`\s*\n\s*(?://|--|#)?\s*`)

func TestPlainEnglish(t *testing.T) {
	eachFile(t, func(path string, source []byte) {
		written := []string{".go", ".md", ".js", ".html", ".css", ".lua", ".sh", ".yaml"}
		if !slices.Contains(written, filepath.Ext(path)) || path == "repository_test.go" {
			return
		}
		text := lineBreak.ReplaceAll(source, []byte(" "))
		for phrase, instead := range retired {
			if found := regexp.MustCompile(phrase).Find(text); found != nil {
				assert.Fail(t, "a retired phrase", "%s: %q: write %s", path, found, instead)
			}
		}
	})
}
