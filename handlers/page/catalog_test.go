// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// catalogs are those that there have to be, and others.
func catalogs(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := Texts()
	require.Contains(t, all, "en")
	require.Contains(t, all, "de")
	return all
}

// forms are those of a plural that a language has beside "one" and "other", for
// the numbers that occur (Unicode CLDR).
var forms = map[string][]string{"pl": {"few", "many"}}

// Every catalogue has every text, with the same placeholders.
func TestCatalogsAreComplete(t *testing.T) {
	placeholder := regexp.MustCompile(`\{\w+\}`)
	placeholders := func(text string) []string {
		found := placeholder.FindAllString(text, -1)
		slices.Sort(found)
		return found
	}
	all := catalogs(t)
	for language, catalog := range all {
		want := make(map[string]string) // the text in English that has the same placeholders
		for key, text := range all["en"] {
			want[key] = text
			if plural, ok := strings.CutSuffix(key, ".other"); ok {
				for _, form := range forms[language] {
					want[plural+"."+form] = text
				}
			}
		}
		assert.ElementsMatch(t, slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(catalog)), language)
		for key, text := range catalog {
			assert.Equal(t, placeholders(want[key]), placeholders(text), "%s: %s", language, key)
			assert.Equal(t, want[key] == "", text == "", "%s: %s", language, key)
		}
	}
	for name, content := range source(t, "i18n.js") {
		for language := range all {
			assert.Contains(t, content, "./catalog/"+language+".js", name)
		}
	}
}

// Every text that is asked for is there, and every text is asked for.
func TestTextsAreUsed(t *testing.T) {
	catalog := catalogs(t)["en"]
	// As t('key'), t("key"), `key.${part}`, data-t="key", or in a table of keys.
	asked := regexp.MustCompile("data-t(?:-label)?=\"([^\"]+)\"|['`]([a-zA-Z]+(?:\\.(?:[a-zA-Z]+|\\$\\{[^}]*\\}\\w*))+)['`]|\\bt\\('(\\w+)'")
	used := make(map[string]bool)
	for name, content := range source(t, ".html", ".js") {
		if strings.Contains(name, "/catalog/") {
			continue
		}
		for _, m := range asked.FindAllStringSubmatch(content, -1) {
			key := m[1] + m[2] + m[3]
			pattern := regexp.QuoteMeta(key)
			pattern = regexp.MustCompile(`\\\$\\\{.*?\\\}`).ReplaceAllString(pattern, `\w+`)
			matches := regexp.MustCompile("^" + pattern + `(\.one|\.other)?$`)
			found := false
			for key := range catalog {
				if matches.MatchString(key) {
					used[key], found = true, true
				}
			}
			if !strings.HasSuffix(key, ".js") && !strings.HasSuffix(key, ".json") && !strings.HasSuffix(key, ".png") {
				assert.True(t, found, "%s asks for %s, which no catalogue has", name, key)
			}
		}
	}
	for key := range catalog {
		assert.True(t, used[key], "nobody asks for %s", key)
	}
}
