// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/lograte"
)

// complaintLimit is how much the log says: the access log has all of it.
var complaintLimit = lograte.Limit{Interval: time.Minute, Burst: 10, Every: 5 * time.Second}

// complaints keeps refusals from flooding the log. Its zero value is ready to use.
type complaints struct {
	once  sync.Once
	limit *lograte.Limiter[complaint]
}

type complaint struct {
	result Result
	source netip.Addr
}

// due reports whether to log a refusal, and how many like it were not logged
// since the last one that was.
func (c *complaints) due(what complaint) (now bool, suppressed int64) {
	c.once.Do(func() { c.limit = lograte.New[complaint](complaintLimit) })
	return c.limit.Allow(what)
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
