// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// result is one measurement. What a part does not know stays zero and is
// printed as a dash.
type result struct {
	requests, failed int64
	took             time.Duration
	p50, p99         time.Duration
	// cpu is the processor time, user and system, that the server took.
	cpu time.Duration
}

// newResult sorts the latencies of what was asked for in a time.
func newResult(latencies []time.Duration, took time.Duration) result {
	r := result{requests: int64(len(latencies)), took: took}
	if len(latencies) > 0 {
		slices.Sort(latencies)
		r.p50, r.p99 = latencies[len(latencies)/2], latencies[len(latencies)*99/100]
	}
	return r
}

func (r result) rate() float64 { return float64(r.requests-r.failed) / r.took.Seconds() }

// p99Latency and cpuPerRequest are in seconds.
func (r result) p50Latency() float64    { return r.p50.Seconds() }
func (r result) p99Latency() float64    { return r.p99.Seconds() }
func (r result) cpuPerRequest() float64 { return r.cpu.Seconds() / float64(max(r.requests, 1)) }

// contender is one of the things that a part compares.
type contender struct {
	name string
	// server, if not nil, is the process whose processor time counts.
	server  *server
	measure func() (result, error)
	results []result
}

// compare measures all contenders in turn, round by round, so that a machine
// whose speed drifts treats them alike, and prints the medians. unit is what
// is counted: requests/s.
func compare(unit string, contenders ...*contender) error {
	for round := range *rounds + 1 {
		for _, c := range contenders {
			r, err := c.once()
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 { // the first one warms up
				c.results = append(c.results, r)
			}
		}
	}
	if *profiles != "" {
		if err := profile(contenders); err != nil {
			return err
		}
	}
	row("", unit, "p50", "p99", "CPU each")
	row("---", "---:", "---:", "---:", "---:")
	for _, c := range contenders {
		row(c.name, fmt.Sprintf("%.0f", c.median(result.rate)), milliseconds(c.median(result.p50Latency)),
			milliseconds(c.median(result.p99Latency)), microseconds(c.median(result.cpuPerRequest)))
		var failed int64
		for _, r := range c.results {
			failed += r.failed
		}
		if failed > 0 {
			return fmt.Errorf("%s: %d requests failed", c.name, failed)
		}
	}
	return nil
}

func (c *contender) once() (result, error) {
	if c.server == nil {
		return c.measure()
	}
	before, err := processorTime(c.server.PID())
	if err != nil {
		return result{}, err
	}
	r, err := c.measure()
	if err != nil {
		return r, err
	}
	after, err := processorTime(c.server.PID())
	r.cpu = after - before
	return r, err
}

func (c *contender) median(of func(result) float64) float64 {
	all := make([]float64, len(c.results))
	for i, r := range c.results {
		all[i] = of(r)
	}
	return median(all)
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// ratio is one figure of a in terms of b, and what it should be.
type ratio struct {
	what   string
	a, b   *contender
	of     func(result) float64
	wanted bound
}

// judge prints the medians of ratios, each taken round by round.
func judge(ratios ...ratio) {
	fmt.Println()
	row("ratio", "wanted", "measured", "")
	row("---", "---:", "---:", "---")
	for _, r := range ratios {
		all := make([]float64, len(r.a.results))
		for i := range all {
			all[i] = r.of(r.a.results[i]) / r.of(r.b.results[i])
		}
		value := median(all)
		row(r.what, r.wanted.String(), fmt.Sprintf("%.2f", value), r.wanted.verdict(value))
	}
}

// bound is what a figure should be: at least or at most a limit.
type bound struct {
	limit float64
	most  bool
}

func atLeast(limit float64) bound { return bound{limit, false} }
func atMost(limit float64) bound  { return bound{limit, true} }

func (b bound) String() string {
	if b.most {
		return fmt.Sprintf("<= %g", b.limit)
	}
	return fmt.Sprintf(">= %g", b.limit)
}

func (b bound) verdict(value float64) string {
	if b.most && value <= b.limit || !b.most && value >= b.limit {
		return "met"
	}
	return "**missed**"
}

// row prints one row of a table in Markdown.
func row(cells ...string) { fmt.Println("| " + strings.Join(cells, " | ") + " |") }

func milliseconds(seconds float64) string {
	if seconds == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f ms", seconds*1e3)
}

func microseconds(seconds float64) string {
	if seconds == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f µs", seconds*1e6)
}
