// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package clustertest

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// settles is how long after the end of a fault something may still be due
	// to it: a group comes again, a cluster elects a leader.
	settles = 40 * time.Second
	// slowly is how long it may take on a busy machine until something that was
	// delivered is acknowledged.
	slowly = 5 * time.Second
	// together is how much later than another one a notification of its group is
	// delivered at most.
	together = 100 * time.Millisecond
	// notYetNoticed is how long after its end a server may still believe that it
	// leads. On an overloaded machine one gave a Caddy for five seconds what the
	// next leader gave the others.
	notYetNoticed = 10 * time.Second
)

// cost is how many duplicates a fault may cause.
type cost int

const (
	one     cost = iota // of a server: one group
	lent                // of a server that goes on without the others: what was delivered until it noticed
	unacked             // what a Caddy had delivered and not acknowledged
	held                // that, and what a Caddy delivers which nobody hears of
)

// mail tells a mail from all others. All are in the same folder.
type mail struct {
	user string
	uid  uint32
}

// request is one attempt to report a mail.
type request struct {
	mail           mail
	caddy          string
	sent, answered time.Time
	status         int // 0 if there was no answer
}

// delivery is one notification that arrived at the receiver.
type delivery struct {
	mail  mail
	id    string // the identity that the receiver was told
	caddy string // that delivered it
	at    time.Time
}

// outage is one fault and the nodes that it concerned.
type outage struct {
	fault    string
	nodes    []string
	from, to time.Time
	cost     cost
}

func (o *outage) hits(node string) bool { return slices.Contains(o.nodes, node) }

// during reports whether the fault may have had an effect in that time.
func (o *outage) during(from, to time.Time) bool {
	return o.from.Before(to) && from.Before(o.to.Add(settles))
}

// history is everything that happened.
type history struct {
	mu         sync.Mutex
	requests   []request
	deliveries []delivery
	outages    []outage
	waiting    int // how many notifications the queue says are left at the end
}

func (h *history) request(r request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.requests = append(h.requests, r)
}

func (h *history) delivery(d delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.deliveries = append(h.deliveries, d)
}

func (h *history) outage(o outage) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.outages = append(h.outages, o)
}

// acceptedSince reports whether a Caddy has accepted a mail since then.
func (h *history) acceptedSince(caddy string, since time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.requests, func(r request) bool {
		return r.caddy == caddy && r.status == http.StatusOK && r.sent.After(since)
	})
}

// verdict is what a history shows.
type verdict struct {
	// violations are what must not be, in words.
	violations []string
	// accepted is how many mails were answered with 200, delivered how many
	// arrived.
	accepted, delivered int
	// reported is how many mails were reported more than once, by Dovecot without an
	// answer or by two drivers, repeated the duplicates of them, and redelivered all
	// others.
	reported, repeated, redelivered int
	// inverted is how many mails of users arrived after a later one that another
	// Caddy delivered.
	inverted int
}

func (v *verdict) violation(format string, args ...any) {
	v.violations = append(v.violations, fmt.Sprintf(format, args...))
}

// check judges a history that has come to its end:
//   - What was answered with 200 was delivered, or waits.
//   - What arrives was sent.
//   - A mail has one identity, and no other mail has it.
//   - A Caddy that runs and can be reached answers 200 or 503.
//   - A mail that was reported once arrives once, unless a fault explains a
//     duplicate, and each fault explains so many.
//   - The mails of a user that one Caddy delivers arrive in their order, where
//     nothing failed.
func (h *history) check() *verdict {
	h.mu.Lock()
	defer h.mu.Unlock()
	v := new(verdict)
	sent := make(map[mail][]request)
	accepted := make(map[mail]bool)
	for _, r := range h.requests {
		sent[r.mail] = append(sent[r.mail], r)
		if r.status == http.StatusOK {
			accepted[r.mail] = true
		}
	}
	arrived := make(map[mail][]delivery)
	for _, d := range h.deliveries {
		arrived[d.mail] = append(arrived[d.mail], d)
	}
	v.accepted, v.delivered = len(accepted), len(arrived)

	missing := 0
	for m := range accepted {
		if len(arrived[m]) == 0 {
			missing++
		}
	}
	if missing > h.waiting {
		v.violation("%d accepted mails were not delivered, and %d wait", missing, h.waiting)
	}
	owners := make(map[string]mail)
	for m, all := range arrived {
		if len(sent[m]) == 0 {
			v.violation("mail %d of %s arrived and was never sent", m.uid, m.user)
		}
		for _, d := range all {
			if owner, known := owners[d.id]; known && owner != m {
				v.violation("mail %d of %s and mail %d of %s have the same identity", m.uid, m.user, owner.uid, owner.user)
			}
			owners[d.id] = m
			if d.id != all[0].id {
				v.violation("mail %d of %s has several identities", m.uid, m.user)
				break
			}
		}
	}
	h.checkAnswers(v)
	h.checkDuplicates(v, sent, arrived)
	h.checkOrder(v, sent, arrived)
	return v
}

// checkAnswers looks for what Dovecot must not see of a Caddy that runs and can be
// reached.
func (h *history) checkAnswers(v *verdict) {
	for _, r := range h.requests {
		switch {
		case r.status == http.StatusOK, r.status == http.StatusServiceUnavailable:
		case slices.ContainsFunc(h.outages, func(o outage) bool { return o.hits(r.caddy) && o.during(r.sent, r.answered) }):
		default:
			v.violation("%s answered %d after %s", r.caddy, r.status, r.answered.Sub(r.sent))
		}
	}
}

// answers describes what Dovecot saw, from the beginning of an outage on, of the Caddys that were not hit: how
// many answers of which kind, the slowest, and for how long nothing was
// accepted by one of them.
func (h *history) answers(o *outage) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var (
		slowest, gap time.Duration
		counts       = make(map[int]int)
		accepted     = make(map[string][]time.Time)
	)
	for _, r := range h.requests {
		if r.answered.Before(o.from) || slices.ContainsFunc(h.outages, func(o outage) bool { return o.hits(r.caddy) }) {
			continue
		}
		if r.status == http.StatusOK {
			accepted[r.caddy] = append(accepted[r.caddy], r.answered)
		}
		counts[r.status]++
		slowest = max(slowest, r.answered.Sub(r.sent))
	}
	for _, times := range accepted {
		slices.SortFunc(times, time.Time.Compare)
		last := o.from
		for _, at := range times {
			gap, last = max(gap, at.Sub(last)), at
		}
	}
	return fmt.Sprintf("%s (%s, for %.1f s): %d times 200, %d times 503, %d without an answer; the slowest after %.2f s; nothing accepted for %.1f s",
		o.fault, strings.Join(o.nodes, " "), o.to.Sub(o.from).Seconds(), counts[http.StatusOK], counts[http.StatusServiceUnavailable], counts[0],
		slowest.Seconds(), gap.Seconds())
}

// checkDuplicates attributes each duplicate to the fault that explains it and
// is the nearest to having explained enough.
func (h *history) checkDuplicates(v *verdict, sent map[mail][]request, arrived map[mail][]delivery) {
	explained := make([][]delivery, len(h.outages)) // what came again
	room := func(i int) int { return h.explains(&h.outages[i]) - h.outages[i].count(explained[i]) }
	for m, all := range arrived {
		if len(sent[m]) > 1 {
			v.reported++
		}
		extra := len(all) - 1
		repeated := max(min(extra, len(sent[m])-1), 0)
		v.repeated += repeated
		v.redelivered += extra - repeated
		for n := 1; n <= extra-repeated; n++ {
			first, again := all[n-1], all[n]
			at := -1
			for i := range h.outages {
				if !h.outages[i].during(first.at.Add(-slowly), again.at) {
					continue
				}
				// Faults that explain many go first.
				if at < 0 || room(at) < room(i) {
					at = i
				}
			}
			if at < 0 {
				v.violation("mail %d of %s was delivered again after %s, and nothing had failed", m.uid, m.user, again.at.Sub(first.at))
				continue
			}
			explained[at] = append(explained[at], again)
		}
	}
	for i := range h.outages {
		if o := &h.outages[i]; room(i) < 0 {
			v.violation("%d duplicates after the fault %s of %v, which explains %d", o.count(explained[i]), o.fault, o.nodes, h.explains(o))
		}
	}
}

// count returns how many duplicates those are that came again after the outage. Of a
// server it counts groups, whose notifications one Caddy delivers at once.
func (o *outage) count(again []delivery) (n int) {
	if o.cost != one {
		return len(again)
	}
	began := make(map[string]time.Time)
	for _, d := range slices.SortedFunc(slices.Values(again), func(a, b delivery) int { return a.at.Compare(b.at) }) {
		if d.at.Sub(began[d.caddy]) > together {
			n++
			began[d.caddy] = d.at
		}
	}
	return n
}

// explains returns how many duplicates a fault may cause.
func (h *history) explains(o *outage) (n int) {
	if o.cost == one {
		return 1
	}
	if o.cost == lent {
		for _, d := range h.deliveries {
			if d.at.After(o.from.Add(-slowly)) && d.at.Before(o.to.Add(notYetNoticed)) {
				n++
			}
		}
		return n
	}
	for _, d := range h.deliveries {
		before := d.at.After(o.from.Add(-slowly)) && d.at.Before(o.from)
		meanwhile := d.at.After(o.from) && d.at.Before(o.to.Add(slowly))
		if o.hits(d.caddy) && (before || meanwhile && o.cost == held) {
			n++
		}
	}
	return n
}

// checkOrder compares the first arrivals of each user's mails.
func (h *history) checkOrder(v *verdict, sent map[mail][]request, arrived map[mail][]delivery) {
	last := make(map[string]delivery) // the latest mail of each user that has arrived
	seen := make(map[mail]bool)
	for _, d := range h.deliveries {
		if seen[d.mail] {
			continue
		}
		seen[d.mail] = true
		before, other := last[d.mail.user]
		if !other || before.mail.uid < d.mail.uid {
			last[d.mail.user] = d
			continue
		}
		since := d.at
		for _, r := range slices.Concat(sent[d.mail], sent[before.mail]) {
			if r.sent.Before(since) {
				since = r.sent
			}
		}
		failed := slices.ContainsFunc(h.outages, func(o outage) bool { return o.during(since, d.at) })
		switch {
		case failed || len(sent[d.mail]) != 1 || len(sent[before.mail]) != 1:
		case d.caddy != before.caddy:
			v.inverted++
		default:
			v.violation("mail %d of %s arrived after mail %d, and nothing had failed", d.mail.uid, d.mail.user, before.mail.uid)
		}
	}
}
