// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveconf

import (
	"strconv"
	"strings"
)

// Is24 reports whether the configuration has the syntax of 2.4.
func (c *Config) Is24() bool { return c.AtLeast("2.4") }

// AtLeast reports whether the release is the given one or a later one.
func (c *Config) AtLeast(release string) bool {
	have, want := numbers(c.Release), numbers(release)
	for i := range max(len(have), len(want)) {
		var h, w int
		if i < len(have) {
			h = have[i]
		}
		if i < len(want) {
			w = want[i]
		}
		if h != w {
			return h > w
		}
	}
	return true
}

// numbers parses 2.3.19.1 or 2.4.1-4. The part after a dash is the package's.
func numbers(release string) []int {
	release, _, _ = strings.Cut(release, "-")
	var all []int
	for part := range strings.SplitSeq(release, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			break // 2.4.rc1
		}
		all = append(all, n)
	}
	return all
}
