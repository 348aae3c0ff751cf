// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

// systemd takes the unit without a complaint, and finds it well shut in.
func TestUnit(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("systemd is not installed")
	}
	unit := read(t, "examples", "service", "caddy.service")
	unit = strings.ReplaceAll(unit, "/usr/local/bin/caddy", caddytestkit.Binary(t))
	unit = strings.NewReplacer("User=caddy", "User=www-data", "Group=caddy", "Group=www-data").Replace(unit)
	dir := t.TempDir()
	file, socket := filepath.Join(dir, "caddy.service"), filepath.Join(dir, "caddy.socket")
	require.NoError(t, os.WriteFile(file, []byte(unit), 0o644))
	require.NoError(t, os.WriteFile(socket, []byte(read(t, "examples", "service", "caddy.socket")), 0o644))
	out, err := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", file, socket).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NotContains(t, string(out), "caddy.service:", "no line is complained about")
	require.NotContains(t, string(out), "caddy.socket:", "no line is complained about")
	out, err = exec.Command("systemd-analyze", "security", "--offline=true", "--threshold=25", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// The sockets of the unit are those that the page binds, in its order.
func TestSocketUnit(t *testing.T) {
	t.Parallel()
	unit, page := read(t, "examples", "service", "caddy.socket"), read(t, "examples", "service", "README.md")
	listens := regexp.MustCompile(`(?m)^ListenStream=.*?(\d+)$`).FindAllStringSubmatch(unit, -1)
	require.Len(t, listens, 2)
	for i, m := range listens {
		assert.Regexp(t, fmt.Sprintf(`(?m)^https?://\S+:%s \{\n\tbind fd/%d \{\n\t\tprotocols h1( h2)?\n`, m[1], 3+i), page)
	}
}

// The container files fit to each other, to the Caddyfile and to go.mod. No
// image is built here.
func TestContainerFiles(t *testing.T) {
	t.Parallel()
	dockerfile := read(t, "examples", "service", "Dockerfile")
	caddyfile := read(t, "examples", "service", "Caddyfile")
	var compose struct {
		Services map[string]struct {
			Build           string
			Ports, Volumes  []string
			Environment     map[string]string
			StopGracePeriod string `yaml:"stop_grace_period"`
		}
		Volumes map[string]any
	}
	dec := yaml.NewDecoder(strings.NewReader(read(t, "examples", "service", "compose.yaml")))
	require.NoError(t, dec.Decode(&compose))
	service := compose.Services["caddy"]
	assert.Equal(t, ".", service.Build)

	exposed := strings.Fields(find(t, dockerfile, `(?m)^EXPOSE (.*)$`))
	require.Len(t, service.Ports, len(exposed))
	for _, port := range exposed {
		assert.Contains(t, caddyfile, ":"+port+" {")
		assert.Contains(t, service.Ports, port+":"+port)
	}
	for variable := range service.Environment {
		assert.Contains(t, caddyfile, "{env."+variable+"}")
	}
	for _, m := range regexp.MustCompile(`\{env\.([A-Z_]+)\}`).FindAllStringSubmatch(caddyfile, -1) {
		assert.Contains(t, service.Environment, m[1])
	}
	for _, path := range regexp.MustCompile(`"(/[a-z]+)"`).FindAllStringSubmatch(find(t, dockerfile, `(?m)^VOLUME (.*)$`), -1) {
		assert.Contains(t, service.Volumes, strings.TrimPrefix(path[1], "/")+":"+path[1])
		assert.Contains(t, compose.Volumes, strings.TrimPrefix(path[1], "/"))
		assert.Contains(t, dockerfile, "="+path[1])
	}
	config := find(t, dockerfile, `"--config", "([^"]+)"`)
	assert.Contains(t, service.Volumes, "./Caddyfile:"+config+":ro")

	mod := read(t, "go.mod")
	assert.Contains(t, mod, "github.com/caddyserver/caddy/v2 "+find(t, dockerfile, `xcaddy build (v[0-9.]+)`))
	assert.Contains(t, mod, "\ngo "+find(t, dockerfile, `FROM golang:([0-9.]+)-`))
	assert.Contains(t, dockerfile, find(t, read(t, "internal", "endtoend", "documents_test.go"), `(xcaddy/cmd/xcaddy@v[0-9.]+)`))

	c := caddytestkit.New(t, "NOTIFY_PASSWORD=x")
	require.NoError(t, writeFile(c.Dir, "Caddyfile", caddyfile))
	out, err := c.Command("validate", "--config", filepath.Join(c.Dir, "Caddyfile"), "--adapter", "caddyfile")
	require.NoError(t, err, out)
}

// find returns the first group of the pattern.
func find(t *testing.T, text, pattern string) string {
	t.Helper()
	m := regexp.MustCompile(pattern).FindStringSubmatch(text)
	require.Len(t, m, 2, pattern)
	return m[1]
}
