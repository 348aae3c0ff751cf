// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

// isolationRate is how many notifications a second are sent: far below what
// can be delivered, so that the latency is not that of a line.
const isolationRate = 500

// isolation measures how long a notification takes to a webhook that answers at
// once, alone and beside one that never answers.
func (b *bench) isolation() error {
	hanging, err := b.hanging()
	if err != nil {
		return err
	}
	var contenders []*contender
	for _, c := range []struct {
		name   string
		others []string
	}{
		{"a webhook alone", nil},
		{"the same beside one that never answers", []string{hanging}},
	} {
		hook, err := b.receiver()
		if err != nil {
			return err
		}
		s, err := b.caddy(b.binary, posting("sync always", append([]string{hook.address}, c.others...)...))
		if err != nil {
			return err
		}
		contenders = append(contenders, &contender{name: c.name, server: s, measure: func() (result, error) {
			return hook.while(func() (int64, error) {
				r, err := load{address: s.address, connections: front, duration: *duration, rate: isolationRate}.run()
				return r.requests - r.failed, err
			})
		}})
	}
	if err := compare("notifications/s", contenders...); err != nil {
		return err
	}
	judge(ratio{"p99 from sending to the webhook's answer, over alone", contenders[1], contenders[0], result.p99Latency, atMost(1.1)})
	return nil
}
