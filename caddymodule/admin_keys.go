// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

// endsSoon is how long before its end a key should be replaced.
const endsSoon = 30 * 24 * time.Hour

func getKeys(a *App, r *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(r.Context(), probeTimeout)
	defer cancel()
	answer := adminapi.Keys{Keys: []adminapi.Key{}} // not null in the answer
	for _, t := range a.targets {
		name := t.Target().Name
		if h, ok := t.(target.KeyHolder); ok {
			keys, err := h.ServerKeys(ctx)
			if err != nil {
				answer.Keys = append(answer.Keys, adminapi.Key{Target: name, Error: err.Error()})
			}
			for _, key := range keys {
				answer.Keys = append(answer.Keys, adminapi.Key{Target: name, ID: key.Public, Since: key.Created})
			}
		}
		if h, ok := t.(target.ServiceKeyHolder); ok {
			key, err := h.ServiceKey(ctx)
			line := adminapi.Key{Target: name, ID: key.ID, Since: key.Used, Ends: key.Ends}
			if err != nil {
				line.Error = err.Error()
			}
			answer.Keys = append(answer.Keys, line)
		}
	}
	return answer, nil
}

// probeKey asks when the key of a target ends.
func probeKey(ctx context.Context, t target.Module) []adminapi.Probe {
	h, ok := t.(target.ServiceKeyHolder)
	if !ok {
		return nil
	}
	key, err := h.ServiceKey(ctx)
	p := adminapi.Probe{Kind: "key", Name: t.Target().Name, Asked: "the age and the end of the key " + key.ID}
	left := time.Until(key.Ends)
	switch {
	case err != nil:
		p.Answered = probeError(ctx, err)
	case key.Ends.IsZero():
		p.OK, p.Answered = true, fmt.Sprintf("in use since %s, without an end", key.Used.Format(time.DateOnly))
	case left < 0:
		p.Answered = fmt.Sprintf("it ended on %s", key.Ends.Format(time.DateOnly))
	default:
		p.OK = left > endsSoon
		p.Answered = fmt.Sprintf("in use since %s, ends on %s", key.Used.Format(time.DateOnly), key.Ends.Format(time.DateOnly))
	}
	return []adminapi.Probe{p}
}
