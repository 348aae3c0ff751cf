// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package firstuse keeps in Caddy's storage when a key of the operator was used first,
// which neither the key nor the service that it is for tells.
package firstuse

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/caddyserver/certmagic"
)

// timeout bounds the storage.
const timeout = 10 * time.Second

// stored is what is in the file of a key.
type stored struct {
	Used time.Time `json:"used_since"`
}

// Of returns when a target used the key of that ID first, on any Caddy that shares the
// storage. That is now if it was not used before.
func Of(ctx context.Context, storage certmagic.Storage, target, id string) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	file := "dovecot_push/keys/" + target + "/" + certmagic.StorageKeys.Safe(id) + ".json"
	text, err := storage.Load(ctx, file)
	if errors.Is(err, fs.ErrNotExist) {
		now := time.Now().UTC().Truncate(time.Second)
		if text, err = json.Marshal(stored{now}); err == nil {
			err = storage.Store(ctx, file, text)
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("writing %s into Caddy's storage: %w", file, err)
		}
		return now, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("reading %s from Caddy's storage: %w", file, err)
	}
	var s stored
	if err := json.Unmarshal(text, &s); err != nil {
		return time.Time{}, fmt.Errorf("%s in Caddy's storage: %w", file, err)
	}
	return s.Used, nil
}
