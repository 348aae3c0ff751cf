// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

var update = flag.Bool("update", false, "write what the adapter makes into testdata")

const separator = "\n----------\n"

// Each file of testdata is a Caddyfile and, after a line of dashes, the JSON
// or the error that the adapter makes of it.
func TestAdapt(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			source, want, found := strings.Cut(string(content), separator)
			got := adapt(t, source)
			if *update {
				require.NoError(t, os.WriteFile(file, []byte(source+separator+got+"\n"), 0o600))
				return
			}
			require.True(t, found, "no line of dashes; run with -update, and read what it writes")
			assert.Equal(t, strings.TrimSpace(want), got)
		})
	}
}

// adapt returns the JSON, or the text of the error, without anything that
// depends on where the file is.
func adapt(t *testing.T, source string) string {
	t.Helper()
	result, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(source), map[string]any{"filename": "Caddyfile"})
	if err != nil {
		return err.Error()
	}
	for _, w := range warnings {
		// The files are written for people, with blanks that "caddy fmt"
		// would not write.
		assert.Contains(t, w.Message, "not formatted")
	}
	var indented bytes.Buffer
	require.NoError(t, json.Indent(&indented, result, "", "\t"))
	return indented.String()
}
