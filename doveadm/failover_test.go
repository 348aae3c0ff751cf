// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/doveadm/doveadmtest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

const waitTimeout = time.Minute

// One of two endpoints dies and comes back while calls go on: none fails.
func TestOneOfTwoDiesAndComesBack(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		stays, dies := startDovecot(t, version, settings{}), startDovecot(t, version, settings{})
		testFailover(t, stays.DoveAdmURL(), dies.DoveAdmURL(),
			func() { require.NoError(t, dies.Stop()) },
			func() error { return dies.Restart(t.Context()) })
	})
	t.Run("doveadmtest", func(t *testing.T) {
		cfg := doveadmtest.Config{Users: []string{alice, bob, carol}, Password: password}
		stays, dies := doveadmtest.Start(t, cfg), doveadmtest.Start(t, cfg)
		testFailover(t, stays.URL(), dies.URL(), dies.Down, dies.Up)
	})
}

func testFailover(t *testing.T, stays, dies string, down func(), up func() error) {
	c := newClient(t, doveadm.Config{
		Endpoints: []string{stays, dies}, Password: password, CheckInterval: 100 * time.Millisecond, TotalConnections: 8,
	})
	var calls atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				user := []string{alice, bob, carol}[i%3]
				value := fmt.Sprint("user=", worker, "/", i)
				var err error
				switch i % 4 {
				case 0:
					err = c.MetadataSet(ctx, user, key, value)
				case 1:
					_, err = c.MetadataGet(ctx, user, key)
				case 2:
					_, err = c.MetadataGetMask(ctx, "*", key)
				case 3:
					err = c.MetadataUnset(ctx, user, key)
				}
				if errors.Is(err, context.Canceled) {
					return
				}
				assert.NoError(t, err)
				calls.Add(1)
			}
		})
	}
	defer wg.Wait()
	defer cancel()
	await := func(condition func() bool, what string) {
		t.Helper()
		require.Eventually(t, condition, waitTimeout, time.Millisecond, what)
	}
	more := func() {
		t.Helper()
		goal := calls.Load() + 20
		await(func() bool { return calls.Load() >= goal }, "calls go on")
	}
	more()
	for range 2 {
		down()
		await(func() bool { return !c.Endpoints()[1].InService }, "the endpoint leaves service")
		more()
		require.NoError(t, up())
		await(func() bool { return c.Endpoints()[1].InService }, "the endpoint comes back")
		more()
	}
	require.True(t, c.Endpoints()[0].InService)
}
