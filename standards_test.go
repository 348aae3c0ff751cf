// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecotpush_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	standardsPage  = "docs/standards.md"
	durabilityPage = "docs/durability.md"
)

// testReference is how a page names a test: `folder.TestName`.
var testReference = regexp.MustCompile("`([a-z0-9/_]+)\\.(Test[A-Za-z0-9]+)`")

// Each row of the page of standards names tests that exist.
func TestStandardsAreTested(t *testing.T) {
	assert.Greater(t, requireTestedRows(t, readFile(t, standardsPage), "| ["), 20)
}

// So does each row of the failure matrix.
func TestDurabilityIsTested(t *testing.T) {
	_, rest, found := strings.Cut(readFile(t, durabilityPage), "| what fails | what is promised | shown by |\n|---|---|---|\n")
	require.True(t, found)
	matrix, _, found := strings.Cut(rest, "\n\n")
	require.True(t, found)
	assert.Greater(t, requireTestedRows(t, matrix, "|"), 15)
}

// requireTestedRows requires that each line of the page with the prefix names
// tests that exist, and returns how many there are.
func requireTestedRows(t *testing.T, page, prefix string) (rows int) {
	t.Helper()
	for line := range strings.Lines(page) {
		if !strings.HasPrefix(line, prefix) {
			continue
		}
		rows++
		references := testReference.FindAllStringSubmatch(line, -1)
		assert.NotEmpty(t, references, "no test shows this: %s", line)
		for _, r := range references {
			assert.True(t, hasTest(t, r[1], r[2]), "%s has no %s", r[1], r[2])
		}
	}
	return rows
}

// Each RFC that the code or another page refers to is on the page of standards.
func TestStandardsAreComplete(t *testing.T) {
	rfc := regexp.MustCompile(`RFC ?([0-9]{3,5})\b`)
	page := readFile(t, standardsPage)
	missing := make(map[string][]string)
	eachFile(t, func(path string, source []byte) {
		if !slices.Contains([]string{".go", ".md", ".js", ".yaml", ".html"}, filepath.Ext(path)) {
			return
		}
		for _, m := range rfc.FindAllSubmatch(source, -1) {
			if number := string(m[1]); !strings.Contains(page, "rfc"+number+")") {
				missing[number] = append(missing[number], path)
			}
		}
	})
	for number, paths := range missing {
		assert.Fail(t, "RFC "+number+" is not in "+standardsPage, "it is referred to in %s", slices.Compact(paths))
	}
}

// hasTest reports whether the package in the folder dir has the named test.
func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	require.NoError(t, err)
	return slices.ContainsFunc(files, func(path string) bool {
		return strings.Contains(readFile(t, path), "\nfunc "+name+"(t *testing.T)")
	})
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

// eachFile visits the files of the repository, but for what tools leave in it.
func eachFile(t *testing.T, visit func(path string, source []byte)) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != "." && (strings.HasPrefix(entry.Name(), ".") || slices.Contains([]string{"bin", "run", "node_modules", "testdata"}, entry.Name())):
			return filepath.SkipDir
		case entry.IsDir():
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		visit(path, source)
		return nil
	}))
}
