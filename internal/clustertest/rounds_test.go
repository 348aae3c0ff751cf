// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package clustertest

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	// longRun is for how many minutes TestCluster goes on, and firstSeed where it
	// begins.
	longRun   = "CLUSTER_MINUTES"
	firstSeed = "CLUSTER_SEED"
	// mostNamed is how many violations of a round are named.
	mostNamed = 20
)

// shortRun is what is tested where nobody says for how long.
var shortRun = []uint64{20, 53, 19}

// Whatever fails, what was accepted is delivered, and once, unless the fault explains a
// duplicate.
func TestCluster(t *testing.T) {
	c := newCluster(t)
	length, err := strconv.Atoi(os.Getenv(longRun))
	if err != nil {
		for _, seed := range shortRun {
			c.judge(seed, plan(seed))
		}
		return
	}
	seed := uint64(1)
	if s := os.Getenv(firstSeed); s != "" {
		seed, err = strconv.ParseUint(s, 10, 64)
		require.NoError(t, err)
	}
	end := time.Now().Add(time.Duration(length) * time.Minute)
	for _, f := range faults { // each of them alone
		if time.Now().Before(end) && os.Getenv(firstSeed) == "" {
			c.judge(0, []fault{f})
		}
	}
	for ; time.Now().Before(end); seed++ {
		c.judge(seed, plan(seed))
	}
}

// Packets get lost, and nothing else.
func TestLoss(t *testing.T) {
	if unsupported != "" {
		t.Skip(unsupported)
	}
	if out, err := exec.Command("tc", "qdisc", "add", "dev", "lo", "root", "netem", "loss", "10%").CombinedOutput(); err != nil {
		t.Skipf("needs netem (sch_netem of the kernel, tc of iproute2): %v: %s", err, out)
	}
	run(t, "tc", "qdisc", "del", "dev", "lo", "root")
	newCluster(t).judge(1, []fault{loss})
}

// judge makes a round and says what it showed.
func (c *cluster) judge(seed uint64, planned []fault) {
	c.t.Helper()
	began := time.Now()
	var names []string
	for _, f := range planned {
		names = append(names, f.name)
	}
	what := "seed " + strconv.FormatUint(seed, 10) + " (" + strings.Join(names, ", ") + ")"
	v := c.round(seed, planned)
	c.t.Logf("%s: %d accepted, %d delivered, %d duplicates of %d reported more than once, %d of others, %d in another order; %s", what,
		v.accepted, v.delivered, v.repeated, v.reported, v.redelivered, v.inverted, time.Since(began).Round(time.Second))
	for _, violation := range v.violations[:min(len(v.violations), mostNamed)] {
		assert.Fail(c.t, violation, what)
	}
}
