// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"flag"
	"testing"
)

// atOnce is how many tests run side by side. They mostly wait, each for its own
// Caddy and Dovecot, so that more of them fit than there are processors.
const atOnce = "4"

func TestMain(m *testing.M) {
	flag.Parse()
	if !isSet("test.parallel") {
		_ = flag.Set("test.parallel", atOnce)
	}
	m.Run()
}

func isSet(name string) bool {
	set := false
	flag.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}
