// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package delivery

import (
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// job is one notification on its way to one destination.
type job struct {
	record   *queue.Record
	service  string // see [Destination]; all jobs of a target without destinations share one
	routeErr error  // why its destinations are unknown
	silenced string // see [Destination]
	hold     func(done func(error))
	from     *batch

	next    *job // in the list the job is in
	unacked bool // it could not be acknowledged
}

// since returns when max_age starts to count.
func (j *job) since() time.Time {
	if !j.record.Replayed.IsZero() {
		return j.record.Replayed
	}
	return j.record.Accepted
}

// jobID identifies a job of a group.
type jobID struct {
	notification notification.Identity
	destination  string
}

func (j *job) id() jobID { return jobID{j.record.ID, j.record.Destination} }

// newerThan reports whether j is of a later message than other, of the same
// mailbox.
func (j *job) newerThan(other *job) bool {
	if j.record.UID != 0 && other.record.UID != 0 {
		return j.record.UID > other.record.UID
	}
	return !j.record.Accepted.Before(other.record.Accepted)
}

// jobs is a list of jobs, first in, first out. A job is in one list at most.
type jobs struct {
	first, last *job
	count       int
}

func (l *jobs) push(j *job) {
	j.next = nil
	if l.first == nil {
		l.first = j
	} else {
		l.last.next = j
	}
	l.last = j
	l.count++
}

func (l *jobs) pop() *job {
	j := l.first
	if j == nil {
		return nil
	}
	l.first, j.next = j.next, nil
	l.count--
	return j
}

// all empties the list.
func (l *jobs) all() []*job {
	all := make([]*job, 0, l.count)
	for j := l.pop(); j != nil; j = l.pop() {
		all = append(all, j)
	}
	return all
}
