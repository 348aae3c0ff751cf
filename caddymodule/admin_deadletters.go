// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// deadLettersPage is how many dead letters one answer has at most.
	deadLettersPage = 1000
	// deadLettersBatch is how many are changed at once. Those of a batch are
	// replayed twice if Caddy is killed in its middle.
	deadLettersBatch = 50
	// changedInterval is how often an answer says how far it is.
	changedInterval = time.Second
)

func replayDeadLetters(a *App, r *http.Request) (any, error) {
	return a.changeDeadLetters(r, func(q *queue.Queue, letters []queue.DeadLetter) []error { return q.Replay(r.Context(), letters) })
}

func deleteDeadLetters(a *App, r *http.Request) (any, error) {
	return a.changeDeadLetters(r, func(q *queue.Queue, letters []queue.DeadLetter) []error {
		results := make([]error, len(letters))
		for i := range letters {
			results[i] = q.DeleteDeadLetter(r.Context(), letters[i].Number)
		}
		return results
	})
}

// openQueueOf is the queue for a route of the admin API.
func openQueueOf(a *App) (*queue.Queue, error) {
	q := a.queue.Load()
	if q == nil {
		return nil, caddy.APIError{HTTPStatus: http.StatusServiceUnavailable, Err: errors.New("the queue is not open yet")}
	}
	return q, nil
}

func getDeadLetters(a *App, r *http.Request) (any, error) {
	q, err := openQueueOf(a)
	if err != nil {
		return nil, err
	}
	filter, err := deadLetterFilter(r.URL.Query())
	if err != nil {
		return nil, err
	}
	content := r.FormValue("content") == "true"
	answer := adminapi.DeadLetters{DeadLetters: []adminapi.DeadLetter{}}
	for d, err := range q.DeadLetters(r.Context(), filter) {
		if err != nil {
			return nil, err
		}
		if len(answer.DeadLetters) == deadLettersPage {
			answer.Next = d.Number
			break
		}
		letter := adminapi.DeadLetter{
			Number: d.Number, ID: d.Record.ID.String(), Target: d.Target, Reason: d.Reason,
			Attempts: d.Record.Attempts, Accepted: d.Record.Accepted, Buried: d.Time, Source: string(d.Record.Source),
		}
		if content {
			letter.Body = d.Record.Body
			if !json.Valid(letter.Body) { // Dovecot 2.2, or damaged
				letter.Body, _ = json.Marshal(string(d.Record.Body))
			}
		}
		answer.DeadLetters = append(answer.DeadLetters, letter)
	}
	return answer, nil
}

// changeDeadLetters does something with each of those that were chosen, batch by
// batch, and answers how far it is, line by line. What was done stays done if the
// request ends in between: the same request goes on with the others. Nothing
// chosen is an error: to change all of them takes all=true.
func (a *App) changeDeadLetters(r *http.Request, change func(*queue.Queue, []queue.DeadLetter) []error) (any, error) {
	q, err := openQueueOf(a)
	if err != nil {
		return nil, err
	}
	query := r.URL.Query()
	filter, err := deadLetterFilter(query)
	if err != nil {
		return nil, err
	}
	number, err := parseNumber(query, "number")
	if err != nil {
		return nil, err
	}
	chosen := filter
	chosen.From = 0 // where a page begins, and no choice
	if chosen == (queue.DeadLetterFilter{}) && number == 0 && query.Get("all") != "true" {
		return nil, badRequest("choose dead letters by number, id, target, before or after, or say all=true")
	}
	return lines(func(line func(any) error) error {
		var changed adminapi.Changed
		var batch []queue.DeadLetter
		flush := func() {
			for _, err := range change(q, batch) {
				changed.Add(err)
			}
			batch = batch[:0]
		}
		said := time.Now()
		for d, err := range q.DeadLetters(r.Context(), filter) {
			if err != nil {
				return err
			}
			if number != 0 && d.Number != number {
				break
			}
			if batch = append(batch, d); len(batch) < deadLettersBatch {
				continue
			}
			flush()
			if time.Since(said) < changedInterval {
				continue
			}
			said = time.Now()
			if err := line(changed); err != nil {
				return err
			}
		}
		flush()
		return line(changed)
	}), nil
}

// deadLetterFilter reads the parameters number, id, target, before, after and
// from. before and after are times (RFC 3339) or ages (24h).
func deadLetterFilter(query url.Values) (queue.DeadLetterFilter, error) {
	filter := queue.DeadLetterFilter{Target: query.Get("target")}
	if id := query.Get("id"); id != "" {
		if n, err := hex.Decode(filter.ID[:], []byte(id)); err != nil || n != len(filter.ID) || len(id) != 2*n {
			return filter, badRequest("id must be 32 hexadecimal digits")
		}
	}
	var err error
	if filter.From, err = parseNumber(query, "from"); err != nil {
		return filter, err
	}
	number, err := parseNumber(query, "number")
	if err != nil {
		return filter, err
	}
	filter.From = max(filter.From, number)
	for name, to := range map[string]*time.Time{"before": &filter.Before, "after": &filter.After} {
		text := query.Get(name)
		if text == "" {
			continue
		}
		if age, err := caddy.ParseDuration(text); err == nil {
			*to = time.Now().Add(-age)
		} else if *to, err = time.Parse(time.RFC3339, text); err != nil {
			return filter, badRequest("%s must be a time such as 2026-11-24T16:00:00Z, or an age such as 24h", name)
		}
	}
	return filter, nil
}

// parseNumber returns 0 if there is none. The numbers of dead letters begin at 1.
func parseNumber(query url.Values, name string) (uint64, error) {
	text := query.Get(name)
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, badRequest("%s must be a number from 1 on", name)
	}
	return n, nil
}
