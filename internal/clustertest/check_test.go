// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// Each history here has one thing wrong, and the check finds it. The same without that
// has nothing wrong.
func TestCheck(t *testing.T) {
	t.Parallel()
	at := func(s float64) time.Time { return time.Unix(1000, 0).Add(time.Duration(s * float64(time.Second))) }
	alice := func(uid uint32) mail { return mail{"alice", uid} }
	sent := func(uid uint32, s float64, status int) request {
		return request{alice(uid), "c1", at(s), at(s + 0.1), status}
	}
	came := func(uid uint32, caddy string, s float64) delivery {
		return delivery{alice(uid), string(rune('a' + uid)), caddy, at(s)}
	}
	killed := func(costs cost, node string) []outage {
		return []outage{{fault: "killed", nodes: []string{node}, from: at(10), to: at(12), cost: costs}}
	}
	const ok, busy = http.StatusOK, http.StatusServiceUnavailable
	for name, test := range map[string]struct {
		h     *history
		wrong string
	}{
		"nothing is wrong": {&history{requests: []request{sent(1, 1, ok), sent(2, 2, busy)}, deliveries: []delivery{came(1, "c2", 2)}}, ""},
		"accepted and not delivered": {
			&history{requests: []request{sent(1, 1, ok), sent(2, 2, ok)}, deliveries: []delivery{came(1, "c1", 2)}, outages: killed(one, "n1")},
			"1 accepted mails were not delivered",
		},
		"it waits":                   {&history{requests: []request{sent(1, 1, ok)}, waiting: 1}, ""},
		"more are missing than wait": {&history{requests: []request{sent(1, 1, ok), sent(2, 2, ok)}, waiting: 1}, "2 accepted mails"},
		"refused, and stored":        {&history{requests: []request{sent(1, 1, busy)}, deliveries: []delivery{came(1, "c1", 2)}}, ""},
		"never sent":                 {&history{deliveries: []delivery{came(1, "c1", 2)}}, "was never sent"},
		"two identities": {
			&history{requests: []request{sent(1, 1, busy), sent(1, 2, ok)}, deliveries: []delivery{came(1, "c1", 2), {alice(1), "z", "c1", at(3)}}},
			"several identities",
		},
		"one identity of two mails": {
			&history{requests: []request{sent(1, 1, ok), sent(2, 2, ok)}, deliveries: []delivery{came(1, "c1", 2), {alice(2), "b", "c1", at(3)}}},
			"the same identity",
		},
		"a hang":                    {&history{requests: []request{sent(1, 1, 0)}}, "c1 answered 0"},
		"a refusal":                 {&history{requests: []request{sent(1, 1, 401)}}, "c1 answered 401"},
		"a hang of what was killed": {&history{requests: []request{sent(1, 11, 0)}, outages: killed(unacked, "c1")}, ""},
		"a hang of another one":     {&history{requests: []request{sent(1, 11, 0)}, outages: killed(unacked, "c2")}, "c1 answered 0"},
		"a hang long after it":      {&history{requests: []request{sent(1, 100, 0)}, outages: killed(unacked, "c1")}, "c1 answered 0"},

		"a duplicate where nothing failed": {
			&history{requests: []request{sent(1, 1, ok)}, deliveries: []delivery{came(1, "c1", 2), came(1, "c1", 3)}},
			"nothing had failed",
		},
		"a duplicate before the fault": {
			&history{requests: []request{sent(1, 1, ok)}, deliveries: []delivery{came(1, "c1", 2), came(1, "c1", 3)}, outages: killed(one, "n1")},
			"nothing had failed",
		},
		"a duplicate long after it": {
			&history{requests: []request{sent(1, 100, ok)}, deliveries: []delivery{came(1, "c1", 101), came(1, "c1", 102)}, outages: killed(one, "n1")},
			"nothing had failed",
		},
		"a duplicate of what was repeated": {
			&history{requests: []request{sent(1, 1, busy), sent(1, 2, ok)}, deliveries: []delivery{came(1, "c1", 2), came(1, "c1", 3)}},
			"",
		},
		"one more than was repeated": {
			&history{requests: []request{sent(1, 1, busy), sent(1, 2, ok)}, deliveries: []delivery{came(1, "c1", 2), came(1, "c1", 3), came(1, "c1", 4)}},
			"nothing had failed",
		},
		"one duplicate of a killed server": {
			&history{requests: []request{sent(1, 9, ok)}, deliveries: []delivery{came(1, "c1", 9.9), came(1, "c2", 40)}, outages: killed(one, "n1")},
			"",
		},
		"a group of it": {
			&history{
				requests:   []request{sent(1, 9, ok), sent(2, 9, ok)},
				deliveries: []delivery{came(1, "c1", 9.9), came(2, "c1", 9.9), came(1, "c2", 40), came(2, "c2", 40)}, outages: killed(one, "n1"),
			},
			"",
		},
		"two groups of it": {
			&history{
				requests:   []request{sent(1, 9, ok), sent(2, 9, ok)},
				deliveries: []delivery{came(1, "c1", 9.9), came(2, "c1", 9.9), came(1, "c2", 40), came(2, "c3", 40)}, outages: killed(one, "n1"),
			},
			"2 duplicates after the fault killed of [n1], which explains 1",
		},
		"what a killed Caddy delivered": {
			&history{
				requests:   []request{sent(1, 9, ok), sent(2, 9, ok)},
				deliveries: []delivery{came(1, "c1", 9.9), came(2, "c1", 9.9), came(1, "c2", 40), came(2, "c2", 40)}, outages: killed(unacked, "c1"),
			},
			"",
		},
		"what another Caddy delivered": {
			&history{requests: []request{sent(1, 9, ok)}, deliveries: []delivery{came(1, "c2", 9.9), came(1, "c3", 40)}, outages: killed(unacked, "c1")},
			"which explains 0",
		},
		"what a killed Caddy delivered long before": {
			&history{requests: []request{sent(1, 1, ok)}, deliveries: []delivery{came(1, "c1", 2), came(1, "c2", 40)}, outages: killed(unacked, "c1")},
			"which explains 0",
		},
		"what a Caddy delivered that nobody heard": {
			&history{requests: []request{sent(1, 9, ok)}, deliveries: []delivery{came(1, "c1", 11), came(1, "c2", 40)}, outages: killed(held, "c1")},
			"",
		},
		"what a killed Caddy delivered later": {
			&history{requests: []request{sent(1, 9, ok)}, deliveries: []delivery{came(1, "c1", 11), came(1, "c2", 40)}, outages: killed(unacked, "c1")},
			"which explains 0",
		},
		"what a server gave away that the others do not know of": {
			&history{
				requests:   []request{sent(1, 9, ok), sent(2, 10.1, ok)},
				deliveries: []delivery{came(1, "c1", 9.9), came(2, "c1", 10.3), came(1, "c2", 14), came(2, "c3", 14)}, outages: killed(lent, "n1"),
			},
			"",
		},
		"what it cannot have given away": {
			&history{
				requests:   []request{sent(1, 39, ok)},
				deliveries: []delivery{came(1, "c1", 40), came(1, "c2", 41)}, outages: killed(lent, "n1"),
			},
			"which explains 0",
		},
		"in the wrong order": {
			&history{requests: []request{sent(1, 1, ok), sent(2, 1.5, ok)}, deliveries: []delivery{came(2, "c1", 2), came(1, "c1", 3)}},
			"mail 1 of alice arrived after mail 2",
		},
		"in the wrong order from two Caddys": {
			&history{requests: []request{sent(1, 1, ok), sent(2, 1.5, ok)}, deliveries: []delivery{came(2, "c1", 2), came(1, "c2", 3)}}, "",
		},
		"in the wrong order after a fault": {
			&history{requests: []request{sent(1, 9, ok), sent(2, 9.5, ok)}, deliveries: []delivery{came(2, "c1", 13), came(1, "c1", 14)}, outages: killed(one, "n1")}, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := test.h.check()
			if test.wrong == "" {
				assert.Empty(t, v.violations)
				return
			}
			assert.Len(t, v.violations, 1)
			assert.Contains(t, v.violations[0], test.wrong)
		})
	}
}
