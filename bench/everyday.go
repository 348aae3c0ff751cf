// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "fmt"

// everydayRates are how many notifications a second are sent: what some thousands,
// hundred thousands and millions of mailboxes get.
var everydayRates = []int{10, 100, 300, 1000, 3000}

// everyday measures what a notification takes from being accepted until a webhook has
// answered, at rates far below what can be done, where each wakes everybody up.
func (b *bench) everyday() error {
	bare, err := b.caddy(b.binary, respond)
	if err != nil {
		return err
	}
	hook, err := b.receiver()
	if err != nil {
		return err
	}
	whole, err := b.caddy(b.binary, posting("sync always", hook.address))
	if err != nil {
		return err
	}
	var contenders []*contender
	for _, rate := range everydayRates {
		send := func(s *server) (result, error) {
			return load{address: s.address, connections: front, duration: *duration, rate: rate}.run()
		}
		contenders = append(contenders,
			&contender{name: fmt.Sprintf("`respond 200`, %d a second", rate), server: bare, measure: func() (result, error) { return send(bare) }},
			&contender{name: fmt.Sprintf("accepted and delivered, %d a second", rate), server: whole, measure: func() (result, error) {
				return hook.while(func() (int64, error) {
					r, err := send(whole)
					return r.requests - r.failed, err
				})
			}})
	}
	if err := compare("notifications/s", contenders...); err != nil {
		return err
	}
	var ratios []ratio
	for i, rate := range everydayRates {
		ratios = append(ratios, ratio{fmt.Sprintf("CPU each over `respond 200`, %d a second", rate), contenders[2*i+1], contenders[2*i], result.cpuPerRequest, atMost(2.8)})
	}
	judge(ratios...)
	return nil
}
