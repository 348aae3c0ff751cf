// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"fmt"
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

// queries are those of the dashboard and of the alerts.
func queries(t *testing.T) (dashboard, alerts []string) {
	t.Helper()
	var d struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, "examples", "monitoring", "dashboard.json")), &d))
	for _, p := range d.Panels {
		require.NotEmpty(t, p.Targets, p.Title)
		for _, target := range p.Targets {
			dashboard = append(dashboard, target.Expr)
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(read(t, "examples", "monitoring", "alerts.yml")), &rules))
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			alerts = append(alerts, r.Expr)
		}
	}
	require.Greater(t, len(dashboard), 15)
	require.Greater(t, len(alerts), 5)
	return dashboard, alerts
}

// Each panel of the dashboard can be told from the others, says what it shows,
// and lies on the grid of 24 columns where no other one does.
func TestDashboardPanels(t *testing.T) {
	t.Parallel()
	var d struct {
		Panels []struct {
			ID                 int
			Title, Description string
			GridPos            struct{ X, Y, W, H int }
			Datasource         struct{ UID string }
			Targets            []struct {
				RefID      string
				Datasource struct{ UID string }
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(read(t, "examples", "monitoring", "dashboard.json")), &d))
	ids, titles, cells := make(map[int]bool), make(map[string]bool), make(map[[2]int]string)
	for _, p := range d.Panels {
		assert.False(t, ids[p.ID], "id %d is there twice", p.ID)
		assert.False(t, titles[p.Title], "%q is there twice", p.Title)
		ids[p.ID], titles[p.Title] = true, true
		assert.NotEmpty(t, p.Description, p.Title)
		assert.Equal(t, "${datasource}", p.Datasource.UID, p.Title)
		refs := make(map[string]bool)
		for _, target := range p.Targets {
			assert.False(t, refs[target.RefID], "%s: %s is there twice", p.Title, target.RefID)
			refs[target.RefID] = true
			assert.Equal(t, "${datasource}", target.Datasource.UID, p.Title)
		}
		assert.LessOrEqual(t, p.GridPos.X+p.GridPos.W, 24, p.Title)
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				cell := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				assert.Empty(t, cells[cell], "%s lies on it", p.Title)
				cells[cell] = p.Title
			}
		}
	}
}

// Every query asks for metrics that exist, by labels that they have: the page
// about metrics, which another test holds against the code, names them.
func TestQueries(t *testing.T) {
	t.Parallel()
	labels := make(map[string]string)
	for line := range strings.Lines(read(t, "docs", "metrics.md")) {
		if columns := strings.Split(line, "|"); len(columns) > 4 && strings.HasPrefix(strings.TrimSpace(columns[1]), "`caddy_") {
			labels[strings.Trim(columns[1], " `")] = columns[3]
		}
	}
	require.NotEmpty(t, labels)
	metric := regexp.MustCompile(`caddy_dovecot_push_[a-z_]+`)
	by := regexp.MustCompile(`by \(([a-z, ]+)\)`)
	dashboard, alerts := queries(t)
	for _, query := range append(dashboard, alerts...) {
		names := metric.FindAllString(query, -1)
		require.NotEmpty(t, names, query)
		var known string
		for _, name := range names {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			if _, ok := labels[name]; !ok {
				_, ok = labels[base]
				assert.True(t, ok, "%s does not exist: %s", name, query)
				name = base
			}
			known += labels[name]
		}
		for _, m := range by.FindAllStringSubmatch(query, -1) {
			for label := range strings.SplitSeq(m[1], ",") {
				if label = strings.TrimSpace(label); label != "le" && label != "instance" {
					assert.Contains(t, known, "`"+label+"`", query)
				}
			}
		}
	}
}

// Prometheus takes the queries, and its tool runs the tests of the alerts.
func TestRules(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian package prometheus)")
	}
	dir := filepath.Join(caddytestkit.Repository(), "examples", "monitoring")
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	run("check", "rules", "alerts.yml")
	run("test", "rules", "alerts_test.yml")

	dashboard, _ := queries(t)
	var b strings.Builder
	b.WriteString("groups:\n- name: dashboard\n  rules:\n")
	grafana := strings.NewReplacer("$__rate_interval", "5m", "$instance", ".*")
	for i, query := range dashboard {
		fmt.Fprintf(&b, "  - record: query%d\n    expr: %q\n", i, grafana.Replace(query))
	}
	file := t.TempDir()
	require.NoError(t, writeFile(file, "dashboard.yml", b.String()))
	run("check", "rules", filepath.Join(file, "dashboard.yml"))
}
