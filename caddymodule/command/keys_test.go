// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestKeysThatEnd(t *testing.T) {
	ends := time.Now().Add(12*24*time.Hour + time.Hour).UTC()
	for answer, want := range map[string]string{
		fmt.Sprintf(`{"keys":[{"target":"fcm","id":"1a2b","ends":%q}]}`, ends.Format(time.RFC3339)): ends.Format(time.DateOnly) + ", in 12 days\n",
		`{"keys":[]}`: "no target has a key\n",
	} {
		out, err := newAdmin(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, answer) }).run("keys")
		require.NoError(t, err)
		assert.Contains(t, out, want)
	}
}
