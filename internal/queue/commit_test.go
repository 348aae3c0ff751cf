// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// fromServer is an error as the server that is embedded answers it.
func fromServer(id server.ErrorIdentifier) error {
	e := server.ApiErrors[id]
	return &jetstream.APIError{Code: e.Code, ErrorCode: jetstream.ErrorCode(e.ErrCode), Description: e.Description}
}

func storeFailed(reason error) error {
	e := server.NewJSStreamStoreFailedError(reason)
	return &jetstream.APIError{Code: e.Code, ErrorCode: jetstream.ErrorCode(e.ErrCode), Description: e.Description}
}

func TestStoreError(t *testing.T) {
	require.NoError(t, storeError(nil))
	for _, test := range []struct {
		err, want error
	}{
		{storeFailed(server.ErrMaxBytes), ErrFull},
		{fromServer(server.JSInsufficientResourcesErr), ErrFull},
		{fromServer(server.JSMemoryResourcesExceededErr), ErrFull},
		{fromServer(server.JSAccountResourcesExceededErr), ErrFull},
		{fromServer(server.JSStorageResourcesExceededErr), ErrFull},
		{fromServer(server.JSStreamMessageExceedsMaximumErr), ErrTooLarge},
		{nats.ErrMaxPayload, ErrTooLarge},
		{fmt.Errorf("publishing: %w", nats.ErrMaxPayload), ErrTooLarge},
		{storeFailed(server.ErrStoreClosed), ErrUnavailable},
		{storeFailed(server.ErrMaxMsgs), ErrUnavailable}, // somebody else's limit
		{fromServer(server.JSNotEnabledErr), ErrUnavailable},
		{fromServer(server.JSStreamNotFoundErr), ErrUnavailable},
		{fromServer(server.JSClusterNoPeersErrF), ErrUnavailable},
		{jetstream.ErrNoStreamResponse, ErrUnavailable},
		{nats.ErrNoResponders, ErrUnavailable},
		{nats.ErrTimeout, ErrUnavailable},
		{nats.ErrConnectionClosed, ErrUnavailable},
		{nats.ErrReconnectBufExceeded, ErrUnavailable},
		{context.DeadlineExceeded, ErrUnavailable},
		{errStoreFailed, ErrUnavailable},
	} {
		got := storeError(test.err)
		require.ErrorIs(t, got, test.want, "%v", test.err)
		for _, other := range []error{ErrFull, ErrTooLarge, ErrUnavailable, ErrClosed} {
			if !errors.Is(test.want, other) {
				require.NotErrorIs(t, got, other, "%v", test.err)
			}
		}
	}
}
