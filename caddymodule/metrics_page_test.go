// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
)

// What stands between these lines of docs/metrics.md is written by
//
//	go test ./caddymodule -run TestMetricsPage -update
const tableBegin, tableEnd = "<!-- from the code -->\n", "<!-- to here -->\n"

// The table of metrics is that of the metrics there are.
func TestMetricsPage(t *testing.T) {
	file := filepath.Join("..", "docs", "metrics.md")
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(content), tableBegin)
	require.True(t, found)
	table, after, found := strings.Cut(rest, tableEnd)
	require.True(t, found)
	want := "\n" + metricsTable(t) + "\n"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(before+tableBegin+want+tableEnd+after), 0o600))
		return
	}
	require.Equal(t, want, table, "run the test with -update")

	// Values are described only for labels that exist.
	value := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| `([a-z_]+)` \\|")
	rows := value.FindAllStringSubmatch(after, -1)
	require.NotEmpty(t, rows)
	for _, m := range rows {
		require.Regexp(t, "(?m)^\\| `caddy_dovecot_push_"+m[1]+"` \\|[^|]*\\|[^|]*`"+m[2]+"`", table)
	}
}

// described reads what a description is printed as: the library does not tell
// it otherwise.
var described = regexp.MustCompile(`fqName: "([^"]+)", help: "([^"]+)", (?:unit: "[^"]*", )?constLabels: \{\}, variableLabels: \{([^}]*)\}`)

func metricsTable(t *testing.T) string {
	t.Helper()
	var rows []string
	app := new(App)
	for _, m := range caddy.GetModules(target.Namespace) {
		app.targets = append(app.targets, m.New().(target.Module))
	}
	for _, c := range collectorsOf(app) {
		kind := "gauge"
		switch c.(type) {
		case prometheus.Gauge: // which has all the methods of a counter
		case *prometheus.CounterVec, prometheus.Counter:
			kind = "counter"
		case *prometheus.HistogramVec, prometheus.Histogram:
			kind = "histogram"
		}
		for _, d := range descriptions(c) {
			m := described.FindStringSubmatch(d.String())
			require.Len(t, m, 4, d.String())
			labels := ""
			if m[3] != "" {
				labels = "`" + strings.ReplaceAll(m[3], ",", "`, `") + "` "
			}
			rows = append(rows, fmt.Sprintf("| `%s` | %s | %s| %s |\n", m[1], kind, labels, m[2]))
		}
	}
	slices.Sort(rows)
	return "| metric | type | labels | meaning |\n|---|---|---|---|\n" + strings.Join(rows, "")
}

func descriptions(c prometheus.Collector) []*prometheus.Desc {
	ch := make(chan *prometheus.Desc)
	go func() {
		defer close(ch)
		c.Describe(ch)
	}()
	var all []*prometheus.Desc
	for d := range ch {
		all = append(all, d)
	}
	return all
}
