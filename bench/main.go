// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the module costs and what it can do, side by
// side with its alternatives in one run, so that the ratios hold on whatever
// machine it runs. "make bench" runs all parts; the figures of the last run
// are in RESULTS.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var (
	binary   = flag.String("caddy", "bin/caddy", "the caddy to measure")
	duration = flag.Duration("duration", 5*time.Second, "length of one measurement")
	rounds   = flag.Int("rounds", 5, "how often each is repeated; medians are printed")
	only     = flag.String("only", "", "comma-separated parts to run: "+strings.Join(partNames(), ","))
	waiting  = flag.Int64("waiting", 1_000_000, "how many notifications wait in the part of that name")
	mails    = flag.Int("mails", 400, "how many mails one measurement of the part lmtp delivers")
)

type part struct {
	name string
	run  func(*bench) error
}

func parts() []part {
	return []part{
		{"disk", (*bench).disk},
		{"accept", (*bench).accept},
		{"connections", (*bench).connections},
		{"waiting", (*bench).waiting},
		{"lmtp", (*bench).lmtp},
		{"memory", (*bench).memory},
	}
}

func partNames() []string {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	return names
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	path, err := filepath.Abs(*binary)
	if err != nil {
		return err
	}
	var failed error
	for _, p := range parts() {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), p.name) {
			continue
		}
		dir, err := os.MkdirTemp("", "bench")
		if err != nil {
			return err
		}
		b := &bench{binary: path, dir: dir}
		fmt.Printf("\n## %s\n\n", p.name)
		if err := p.run(b); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", p.name, err))
		}
		b.close()
		os.RemoveAll(dir)
	}
	return failed
}

// contender is one of the things that a part compares.
type contender struct {
	name    string
	measure func() (result, error)
	results []result
}

// compare measures all contenders in turn, round by round, so that a machine
// whose speed drifts treats them alike, and prints the medians.
func compare(contenders []*contender) error {
	for round := range *rounds + 1 {
		for _, c := range contenders {
			r, err := c.measure()
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			if round > 0 { // the first one warms up
				c.results = append(c.results, r)
			}
		}
	}
	for _, c := range contenders {
		fmt.Printf("%-44s %v\n", c.name, c.median())
	}
	return nil
}

func (c *contender) median() result {
	m := result{took: time.Second}
	m.requests = int64(c.figure(result.rate))
	m.p50 = time.Duration(c.figure(func(r result) float64 { return float64(r.p50) }))
	m.p99 = time.Duration(c.figure(func(r result) float64 { return float64(r.p99) }))
	for _, r := range c.results {
		m.failed += r.failed
	}
	m.requests += m.failed
	return m
}

func (c *contender) figure(of func(result) float64) float64 {
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

// ratio prints how a compares with b, round by round.
func ratio(what string, a, b *contender, of func(result) float64, wanted string) {
	all := make([]float64, len(a.results))
	for i := range a.results {
		all[i] = of(a.results[i]) / of(b.results[i])
	}
	fmt.Printf("%-60s %6.2f  (asked for: %s)\n", what, median(all), wanted)
}

func p99(r result) float64 { return float64(r.p99) }

// plainCaddy builds Caddy without this module.
func (b *bench) plainCaddy() (string, error) {
	path := filepath.Join(b.dir, "caddy-plain")
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "github.com/caddyserver/caddy/v2/cmd/caddy")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building Caddy without the module: %w\n%s", err, out)
	}
	return path, nil
}
