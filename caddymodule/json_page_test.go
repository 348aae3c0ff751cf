// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What stands between these lines of the pages on what stands in a Caddyfile is
// written by
//
//	go test ./caddymodule -run TestJSONOfThePages -update
const jsonBegin, jsonEnd = "<!-- JSON, from the code -->\n", "<!-- to here -->\n"

// Each page shows the JSON that its first example becomes.
func TestJSONOfThePages(t *testing.T) {
	pages, err := filepath.Glob(filepath.Join("..", "docs", "*.md"))
	require.NoError(t, err)
	found := 0
	for _, file := range pages {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		page := string(content)
		if !strings.Contains(page, "\n## Syntax\n") {
			continue
		}
		found++
		t.Run(filepath.Base(file), func(t *testing.T) {
			head, rest, ok := strings.Cut(page, "\n## Examples\n")
			require.True(t, ok)
			lead, rest, ok := strings.Cut(rest, "```caddyfile\n")
			require.True(t, ok)
			example, rest, ok := strings.Cut(rest, "\n```\n")
			require.True(t, ok)
			rest = strings.TrimPrefix(rest, "\n")
			shown := ""
			if after, begins := strings.CutPrefix(rest, jsonBegin); begins {
				shown, rest, ok = strings.Cut(after, jsonEnd)
				require.True(t, ok)
				rest = strings.TrimPrefix(rest, "\n")
			}
			json := adapt(t, example)
			require.True(t, strings.HasPrefix(json, "{"), json)
			want := "<details><summary>As JSON</summary>\n\n```json\n" + json + "\n```\n\n</details>\n"
			if *update {
				page := head + "\n## Examples\n" + lead + "```caddyfile\n" + example + "\n```\n\n" + jsonBegin + want + jsonEnd + "\n" + rest
				require.NoError(t, os.WriteFile(file, []byte(page), 0o600))
				return
			}
			assert.Equal(t, want, shown, "run the test with -update")
		})
	}
	assert.Greater(t, found, 8)
}
