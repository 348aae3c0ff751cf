// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

// blocks are the blocks of the Caddyfile: the page that documents each, and a
// Caddyfile with an option in it that there is none of.
var blocks = map[string]struct{ page, caddyfile string }{
	"queue embedded":      {"queue.md", "{\ndovecot_push {\nqueue embedded {\n???\n}\n}\n}"},
	"queue nats":          {"queue.md", "{\ndovecot_push {\nqueue nats nats://n1:4222 {\n???\n}\n}\n}"},
	"doveadm":             {"doveadm.md", "{\ndovecot_push {\ndoveadm http://imap1:8080 {\n???\n}\n}\n}"},
	"imap":                {"imap.md", "{\ndovecot_push {\nimap imaps://imap1 {\n???\n}\n}\n}"},
	"register":            {"registration.md", "{\ndovecot_push {\nregister all {\n???\n}\n}\n}"},
	"catch_up":            {"catch-up.md", "{\ndovecot_push {\ncatch_up {\n???\n}\n}\n}"},
	"device_defaults":     {"webpush.md", "{\ndovecot_push {\ndevice_defaults {\n???\n}\n}\n}"},
	"actions":             {"webpush.md", "{\ndovecot_push {\nactions read {\n???\n}\n}\n}"},
	"deliver middleware":  {"middleware.md", "{\ndovecot_push {\ndeliver middleware {\n???\n}\n}\n}"},
	"deliver webhook":     {"webhooks.md", "{\ndovecot_push {\ndeliver webhook a https://hooks.example {\n???\n}\n}\n}"},
	"deliver apns":        {"apps.md", "{\ndovecot_push {\ndeliver apns {\n???\n}\n}\n}"},
	"deliver fcm":         {"apps.md", "{\ndovecot_push {\ndeliver fcm {\n???\n}\n}\n}"},
	"deliver webpush":     {"webpush.md", "{\ndovecot_push {\ndeliver webpush {\n???\n}\n}\n}"},
	"dovecot_push_notify": {"endpoint.md", "http://:8009 {\ndovecot_push_notify {\n???\n}\n}"},
	"dovecot_push_guard":  {"guard.md", "http://:8009 {\ndovecot_push_guard /a {\n???\n}\n}"},
	"dovecot_push_api":    {"api.md", "http://:8009 {\ndovecot_push_api {\n???\n}\n}"},
	"login imap":          {"api.md", "http://:8009 {\ndovecot_push_api {\nlogin imap imaps://imap1 {\n???\n}\n}\n}"},
	"theme":               {"api.md", "http://:8009 {\ndovecot_push_api {\ntheme {\n???\n}\n}\n}"},
}

// notDocumented are options that only tell where the thing is set.
var notDocumented = map[string]string{"sync": "queue nats"}

// optionsOf are the options of a block, which it lists when it gets one that it
// does not know.
func optionsOf(t *testing.T, c *caddytestkit.Caddy, caddyfile string) []string {
	t.Helper()
	require.NoError(t, writeFile(c.Dir, "Caddyfile", caddyfile))
	out, err := c.Command("adapt", "--config", filepath.Join(c.Dir, "Caddyfile"))
	require.Error(t, err, out)
	return strings.Split(find(t, out, `does not know the option \\?"\?\?\?\\?"; it knows: ([a-z_, ]+), at `), ", ")
}

// Every block of the Caddyfile is on the overview and has a page, all pages are
// made alike, and no option is left out or made up.
func TestEveryOptionIsDocumented(t *testing.T) {
	t.Parallel()
	c := caddytestkit.New(t)
	overview := strings.ReplaceAll(read(t, "docs", "caddyfile.md"), `\|`, "/")
	known := map[string]map[string]bool{} // by page
	for block, b := range blocks {
		if known[b.page] == nil {
			known[b.page] = make(map[string]bool)
		}
		if block != "login imap" && block != "theme" { // which are in another block
			row := "`" + regexp.QuoteMeta(block) + `[^|]*\|[^|]*\| \[` + regexp.QuoteMeta(b.page)
			assert.True(t, regexp.MustCompile(row).MatchString(overview), "%s is not on docs/caddyfile.md", block)
		}
		page := read(t, "docs", b.page)
		for _, option := range optionsOf(t, c, b.caddyfile) {
			known[b.page][option] = true
			if notDocumented[option] != block {
				assert.True(t, regexp.MustCompile("(?m)^\\| `"+option+"[ `]|`, `"+option+"[ `]").MatchString(page), "%s: the option %s is not in a table of %s", block, option, b.page)
				assert.True(t, regexp.MustCompile("(?m)^\t+"+option+"( |$)").MatchString(syntaxOf(t, b.page)), "%s: the option %s is not in the syntax of %s", block, option, b.page)
			}
		}
	}
	word := regexp.MustCompile(`(?m)^\t+([a-z_]+)`)
	for page, options := range known {
		for _, m := range word.FindAllStringSubmatch(syntaxOf(t, page), -1) {
			assert.True(t, options[m[1]], "%s has the option %s, which does not exist", page, m[1])
		}
	}
	require.Len(t, overviewOf(t, c), 8, "another block of dovecot_push belongs into the table above")
}

func overviewOf(t *testing.T, c *caddytestkit.Caddy) []string {
	return optionsOf(t, c, "{\ndovecot_push {\n???\n}\n}")
}

func syntaxOf(t *testing.T, page string) string {
	t.Helper()
	return find(t, read(t, "docs", page), "(?s)\n## Syntax\n.*?```\n(.*?)```")
}

// The pages of what stands in a Caddyfile are made alike.
func TestPagesAreAlike(t *testing.T) {
	t.Parallel()
	pages := map[string]bool{"events.md": true}
	for _, b := range blocks {
		pages[b.page] = true
	}
	for page := range pages {
		text := "\n" + read(t, "docs", page)
		at := -1
		for _, section := range []string{"What it does", "Syntax", "Options", "Examples", "Failures"} {
			next := strings.Index(text, "\n## "+section+"\n")
			assert.Greater(t, next, at, "%s has no section %q, or in another place", page, section)
			at = next
		}
		assert.NotContains(t, text[max(at, 0)+1:], "\n## ", "%s: Failures comes last", page)
		assert.Contains(t, text[strings.Index(text, "\n## Examples"):], "```caddyfile", page)
	}
}

// The index names every page, and what the documents link to exists.
func TestLinks(t *testing.T) {
	t.Parallel()
	index := read(t, "docs", "README.md")
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	for name, text := range documents(t) {
		if filepath.Dir(name) == "docs" && filepath.Base(name) != "README.md" {
			assert.Contains(t, index, "]("+filepath.Base(name)+")", "%s is not in the index", name)
		}
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path := filepath.Join(filepath.Dir(name), target)
			if target == "" {
				path = name
			}
			_, err := os.Stat(filepath.Join(caddytestkit.Repository(), path))
			if assert.NoError(t, err, "%s links to %s", name, m[1]) && anchor != "" {
				assert.Contains(t, anchorsOf(read(t, path)), anchor, "%s links to %s", name, m[1])
			}
		}
	}
}

// A paragraph that ends with a colon announces something, and it is there: a
// block of code, a list, a table or a picture.
func TestAnnouncementsAreKept(t *testing.T) {
	t.Parallel()
	announced := regexp.MustCompile("^(```|\\||[-*] |[0-9]+\\. |> |<img |!\\[)")
	for name, text := range documents(t) {
		paragraphs := strings.Split(regexp.MustCompile("(?sm)^ *```.*?^ *```$").ReplaceAllString(text, "```"), "\n\n")
		for i, paragraph := range paragraphs {
			paragraph = strings.TrimSpace(paragraph)
			if !strings.HasSuffix(paragraph, ":") {
				continue
			}
			next := "the end of the page"
			if i+1 < len(paragraphs) {
				next = strings.TrimSpace(paragraphs[i+1])
			}
			assert.Regexp(t, announced, next, "%s announces nothing: %q", name, paragraph)
		}
	}
}

// documents are the texts of all Markdown files, by their path.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for _, pattern := range []string{"*.md", "*/*.md", "docs/*/*.md", "examples/*/*.md"} {
		files, err := filepath.Glob(filepath.Join(caddytestkit.Repository(), filepath.FromSlash(pattern)))
		require.NoError(t, err)
		for _, file := range files {
			name, err := filepath.Rel(caddytestkit.Repository(), file)
			require.NoError(t, err)
			all[name] = read(t, name)
		}
	}
	require.Greater(t, len(all), 20)
	return all
}

// anchorsOf are the names that a page's headings have in links.
func anchorsOf(page string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(page, -1) {
		name := regexp.MustCompile(`[^a-z0-9_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		all = append(all, strings.ReplaceAll(name, " ", "-"))
	}
	return all
}

// From nothing to the first push it takes at most 15 lines of configuration, a
// brace that closes a block not counted. Dovecot's is written by the command.
func TestFifteenLines(t *testing.T) {
	t.Parallel()
	page := read(t, "docs", "getting-started.md")
	lines := 0
	for line := range strings.Lines(find(t, page, "(?s)```caddyfile\n(.*?)```")) {
		if line = strings.TrimSpace(line); line != "" && line != "}" {
			lines++
		}
	}
	assert.LessOrEqual(t, lines, 15)
	assert.NotContains(t, page, "```dovecot")
}
