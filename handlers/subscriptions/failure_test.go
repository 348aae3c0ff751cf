// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscriptions

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

// Nobody learns which names exist inside: that a name does not resolve, and
// that it resolves to an address inside, look the same.
func TestInternalNamesLookLikeNone(t *testing.T) {
	refused := &notSentError{delivery.Result{Reason: "address_refused", Err: errors.New("the address is private")}}
	unknown := &notSentError{delivery.Result{Reason: "dns", Err: errors.New("no such host")}}
	require.Equal(t, refused.problem(), unknown.problem())
	require.NotContains(t, refused.problem().Detail, "private")
	require.NotEqual(t, refused.problem(), (&notSentError{delivery.Result{Reason: "status_500"}}).problem())
}
