// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	// complaintInterval is how often the same message about the same source is
	// logged.
	complaintInterval = time.Minute
	// complaintsAtOnce and complaintEvery limit all messages together.
	complaintsAtOnce = 10
	complaintEvery   = 5 * time.Second
	// maxComplaints bounds the memory, to some 100 kB.
	maxComplaints = 1024
)

// complaints keeps refusals from flooding the log. The access log has them all.
// The zero value is ready to use.
type complaints struct {
	mu    sync.Mutex
	limit *rate.Limiter
	said  map[complaint]*said
}

type complaint struct {
	result Result
	source netip.Addr
}

type said struct {
	last  time.Time
	since int // how often it was not said since then
}

// due reports whether to log a refusal, and how many like it were not logged
// since the last one that was.
func (c *complaints) due(what complaint) (now bool, suppressed int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.said == nil {
		c.said = make(map[complaint]*said)
		c.limit = rate.NewLimiter(rate.Every(complaintEvery), complaintsAtOnce)
	}
	s := c.said[what]
	if s == nil {
		if len(c.said) >= maxComplaints {
			clear(c.said)
		}
		s = new(said)
		c.said[what] = s
	}
	t := time.Now()
	if t.Sub(s.last) < complaintInterval || !c.limit.AllowN(t, 1) {
		s.since++
		return false, 0
	}
	suppressed = s.since
	*s = said{last: t}
	return true, suppressed
}

// complain logs a refusal, if it is due.
func (h *Handler) complain(ctx context.Context, source netip.Addr, a *refusal) {
	now, suppressed := h.complaints.due(complaint{a.result, source})
	if !now {
		return
	}
	args := []any{"reason", string(a.result), "remote", source, "status", a.status, "problem", a.problem, "not_logged_since", suppressed}
	if a.cause != nil {
		args = append(args, "error", a.cause)
	}
	h.Logger.Log(ctx, level(a.result), "refused a notification", args...)
}

// level is info for network failures, and a warning for what stays wrong until
// somebody fixes it.
func level(result Result) slog.Level {
	switch result {
	case BodyCut, BodyTimeout:
		return slog.LevelInfo
	default:
		return slog.LevelWarn
	}
}
