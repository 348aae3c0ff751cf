// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package doctor finds out why no push arrives: it checks the configuration of
// a Dovecot, sends requests to the notify endpoint as Dovecot would, and
// returns [Finding]s that say what was tried, the result and what to change.
package doctor

// Status is how bad a finding is.
type Status string

// The statuses.
const (
	OK      Status = "ok"
	Warning Status = "warning" // it works, but will not for long, or not well
	Problem Status = "problem" // this keeps push from working
	Skipped Status = "skipped" // it could not be looked at
)

// Finding is what one check found. Nothing in it is secret.
type Finding struct {
	// Check is the name of the check, such as "dovecot-plugins".
	Check  string `json:"check"`
	Status Status `json:"status"`
	// Tried is what was looked at, Got what came back, Fix what to change.
	Tried string `json:"tried"`
	Got   string `json:"got"`
	Fix   string `json:"fix,omitempty"`
}

// Worst is the worst status of the findings.
func Worst(findings []Finding) Status {
	order := map[Status]int{Skipped: 0, OK: 1, Warning: 2, Problem: 3}
	worst := Skipped
	for _, f := range findings {
		if order[f.Status] > order[worst] {
			worst = f.Status
		}
	}
	return worst
}

// report collects findings.
type report struct{ findings []Finding }

func (r *report) add(check string, status Status, tried, got, fix string) {
	r.findings = append(r.findings, Finding{Check: check, Status: status, Tried: tried, Got: got, Fix: fix})
}

func (r *report) ok(check, tried, got string) { r.add(check, OK, tried, got, "") }

func (r *report) problem(check, tried, got, fix string) { r.add(check, Problem, tried, got, fix) }

func (r *report) warning(check, tried, got, fix string) { r.add(check, Warning, tried, got, fix) }
