// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// snippet is a block of code in a document.
type snippet struct{ name, language, text string }

// snippets are the blocks of code of all documents.
func snippets(t *testing.T) []snippet {
	t.Helper()
	block := regexp.MustCompile("(?sm)^( *)```([a-z0-9.-]*)\n(.*?)^ *```$")
	var all []snippet
	for name, text := range documents(t) {
		for i, m := range block.FindAllStringSubmatch(text, -1) {
			all = append(all, snippet{fmt.Sprintf("%s-%d", name, i+1), m[2], m[3]})
		}
	}
	slices.SortFunc(all, func(a, b snippet) int { return strings.Compare(a.name, b.name) })
	return all
}

// dovecotSetting is what only a configuration of Dovecot has.
var dovecotSetting = regexp.MustCompile(`(?m)^\s*(mail_plugins|mail_attribute|doveadm_\w+ =|push_notification|ssl_client_\w+ =|service \w+ \{|passdb)`)

// Dovecot starts with what the documents say that it should have.
func TestDovecotSnippets(t *testing.T) {
	t.Parallel()
	all := snippets(t)
	for _, s := range all {
		if !strings.HasPrefix(s.language, "dovecot-") {
			assert.NotRegexp(t, dovecotSetting, s.text, "%s must say for which Dovecot it is: ```dovecot-2.3 or ```dovecot-2.4", s.name)
		}
	}
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		found := 0
		for _, s := range all {
			if s.language != "dovecot-"+string(version) {
				continue
			}
			found++
			t.Run(s.name, func(t *testing.T) {
				t.Parallel()
				server := dovecottest.Start(t, dovecottest.Config{
					Version: version, SSLClientCAFile: newAuthority(t).file, ExtraConfig: here.Replace(s.text),
				})
				config, err := server.Doveconf()
				require.NoError(t, err)
				for line := range strings.Lines(s.text) {
					// What stands at the top shows in what Dovecot took.
					if key, _, ok := strings.Cut(line, " = "); ok && !strings.HasPrefix(line, " ") {
						assert.Contains(t, config, "\n"+key+" = ")
					}
				}
			})
		}
		assert.Positive(t, found)
	})
}

// No key of DoveAdm stands in a document or an example: who pastes it would open
// the mail of everybody to anyone who has read it.
func TestNoKeyOfDoveAdmInTheDocuments(t *testing.T) {
	t.Parallel()
	key := regexp.MustCompile(`(?m)^\s*doveadm_(api_key|password)\s*=[ \t]*(\S.*)$`)
	examples, err := filepath.Glob(filepath.Join(caddytestkit.Repository(), "examples", "*", "*.conf"))
	require.NoError(t, err)
	texts := documents(t)
	for _, example := range examples {
		name, err := filepath.Rel(caddytestkit.Repository(), example)
		require.NoError(t, err)
		texts[name] = read(t, name)
	}
	assert.Contains(t, texts, filepath.Join("examples", "dovecot", "dovecot-2.3.conf"))
	for name, text := range texts {
		assert.Empty(t, key.FindAllString(text, -1), name)
	}
}

// A site at an address of this machine alone listens there alone, and so does one
// at any address that asks for a password: what stands behind it without TLS is not
// for the network.
func TestPlainHTTPOfTheDocumentsIsLocal(t *testing.T) {
	t.Parallel()
	site := regexp.MustCompile(`(?m)^((?:http://(?:127\.0\.0\.1|localhost|\[::1\]|\{notify\}|:)[^ ,{]*(?:, )?)+) \{\n((?:[\t{].*\n|\n)*)`)
	texts := documents(t)
	for _, pattern := range []string{"Caddyfile.example", "demo/Caddyfile", "examples/*/Caddyfile", "internal/migrate/*.tmpl", "internal/migrate/testdata/*.caddyfile"} {
		files, err := filepath.Glob(filepath.Join(caddytestkit.Repository(), pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			texts[file] = readAll(t, file)
		}
	}
	found := 0
	for name, text := range texts {
		for _, m := range site.FindAllStringSubmatch(text, -1) {
			if strings.HasPrefix(m[1], "http://:") && !strings.Contains(m[2], "credentials") {
				continue
			}
			found++
			assert.Contains(t, m[2], "\tbind 127.0.0.1\n", "%s: %s", name, m[1])
		}
	}
	assert.GreaterOrEqual(t, found, 5)
}

// here puts the addresses and files of the test in the place of those that the
// documents make up.
var here = strings.NewReplacer(
	"10.0.0.5", "127.0.0.1", "10.0.0.9", "127.0.0.9", "port = 8080", "port = {{.DoveAdmPort}}", "#doveadm_api_key =", "doveadm_api_key = {{.APIKey}}",
	"/etc/dovecot/push-ca.crt", "{{.SSLClientCAFile}}", "/etc/dovecot/caddy-root.crt", "{{.SSLClientCAFile}}",
)

// A command line of Caddy: the words before the first flag, and the flags.
type commandLine struct{ words, flags []string }

func (l commandLine) String() string { return strings.Join(append(l.words, l.flags...), " ") }

var (
	continued    = regexp.MustCompile(`\\\n\s*`)
	caddyCommand = regexp.MustCompile("(?m)(?:^|[|;(]|sudo) *(?:[^ ]*/)?caddy ([a-z][^|;#>\n)]*)")
	aWord        = regexp.MustCompile(`^[a-z][a-z-]*$`)
	aFlag        = regexp.MustCompile(`^--?[a-z-]+`)
)

// commandLines finds the commands in a text.
func commandLines(text string) []commandLine {
	var all []commandLine
	for _, m := range caddyCommand.FindAllStringSubmatch(continued.ReplaceAllString(text, " "), -1) {
		var l commandLine
		named := true
		for word := range strings.FieldsSeq(m[1]) {
			switch {
			case aFlag.MatchString(word):
				l.flags = append(l.flags, aFlag.FindString(word))
				named = false
			case named && aWord.MatchString(word):
				l.words = append(l.words, word)
			default:
				named = false
			}
		}
		all = append(all, l)
	}
	return all
}

// The commands of Caddy that the documents tell exist, with these flags: in
// blocks, and within a line.
func TestCommandsOfTheDocuments(t *testing.T) {
	t.Parallel()
	c := caddytestkit.New(t)
	texts := make(map[string]string)
	for _, s := range snippets(t) {
		if s.language == "sh" {
			texts[s.name] = s.text
		}
	}
	inline := regexp.MustCompile("`((?:bin/)?caddy [^`\n]+)`")
	for name, text := range documents(t) {
		for _, m := range inline.FindAllStringSubmatch(text, -1) {
			texts[name] += m[1] + "\n"
		}
	}
	helps := make(map[string]string)
	found := 0
	for name, text := range texts {
		for _, l := range commandLines(text) {
			if len(l.words) == 0 {
				continue
			}
			found++
			words := l.words[:1]
			if words[0] == "dovecot-push" {
				words = l.words[:min(2, len(l.words))]
			}
			key := strings.Join(words, " ")
			if _, ok := helps[key]; !ok {
				out, err := c.Command(append(slices.Clone(words), "--help")...)
				require.NoError(t, err, "%s: %s", name, out)
				helps[key] = out
			}
			// An unknown sub-command shows the help of the one above.
			assert.Regexp(t, `(?m)^Usage:\s+caddy `+key+`\b`, helps[key], "%s: %s", name, l)
			for _, flag := range l.flags {
				assert.Regexp(t, `(?m)[ ,]`+flag+`\b`, helps[key], "%s: %s", name, l)
			}
		}
	}
	assert.Greater(t, found, 40)
}

// Each of our commands explains itself, gives an example, and is in the shell
// completion and in the man pages.
func TestHelp(t *testing.T) {
	t.Parallel()
	c := caddytestkit.New(t)
	page := read(t, "docs", "command.md")
	complete := func(args ...string) string {
		out, err := c.Command(append([]string{"__complete"}, args...)...)
		require.NoError(t, err, out)
		return out
	}
	_, err := c.Command("manpage", "--directory", filepath.Join(c.Dir, "man"))
	require.NoError(t, err)
	var commands []string
	for line := range strings.Lines(complete("dovecot-push", "")) {
		if name, about, ok := strings.Cut(line, "\t"); ok {
			commands = append(commands, name)
			assert.NotEmpty(t, strings.TrimSpace(about), name)
		}
	}
	for _, name := range []string{"status", "doctor", "send-test", "register", "unregister", "registrations", "dead-letters", "replay", "targets", "subscriptions", "vapid", "dovecot-config", "import"} {
		assert.Contains(t, commands, name)
	}
	for _, name := range commands {
		out, err := c.Command("dovecot-push", name, "--help")
		require.NoError(t, err, out)
		assert.Regexp(t, `(?m)^Examples:\n  caddy dovecot-push `+name, out)
		for _, l := range commandLines(find(t, out, `(?s)\nExamples:\n(.*?)\n\n`)) {
			for _, flag := range l.flags {
				assert.Regexp(t, `(?m)[ ,]`+flag+`\b`, out, "%s", l)
			}
		}
		assert.Contains(t, page, "`"+name, "docs/command.md")
		man, err := filepath.Glob(filepath.Join(c.Dir, "man", "caddy-dovecot-push-"+name+".*"))
		require.NoError(t, err)
		if assert.NotEmpty(t, man, name) {
			assert.Contains(t, readAll(t, man[0]), "EXAMPLE")
		}
	}
	// A script with a slip must not go on as if all were well.
	for _, slip := range []string{"dovecot-push bogus", "dovecot-push vapid bogus", "dovecot-push dead-letters bogus", "dovecot-push targets bogus", "dovecot-push status bogus"} {
		out, err := c.Command(strings.Fields(slip)...)
		require.Error(t, err, "%s: %s", slip, out)
		assert.Contains(t, out, `unknown command "bogus"`, slip)
	}
	assert.Contains(t, complete("dovecot-push", "dovecot-config", "--dovecot", ""), "2.3")
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		out, err := c.Command("completion", shell)
		require.NoError(t, err)
		assert.Contains(t, out, "caddy")
	}
}
