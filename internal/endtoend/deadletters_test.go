// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a target refuses can be looked at, replayed when the target is mended,
// and deleted. What it says is shown only to those who ask.
func TestDeadLetters(t *testing.T) {
	t.Parallel()
	ox := startMiddleware(t)
	refusing := freeAddress(t)
	f := startFront(t, refusing)
	refuses := f.config + "\nhttp://" + refusing + " {\n\trespond 400\n}\n"
	require.NoError(t, f.Reload(refuses))
	for i := range 3 {
		taken(t, f.http, notification(uint32(i+1)))
	}
	command := func(args ...string) string {
		t.Helper()
		out, err := f.Command(append(append([]string{"dovecot-push"}, args...), "--address", f.Admin)...)
		require.NoError(t, err, out)
		return out
	}
	type letter struct {
		Number         uint64
		ID             string
		Target, Reason string
		Attempts       int
		Body           map[string]any
	}
	list := func(args ...string) (letters []letter) {
		t.Helper()
		require.NoError(t, json.Unmarshal([]byte(command(append([]string{"dead-letters", "--json"}, args...)...)), &letters))
		return letters
	}
	require.Eventually(t, func() bool { return len(list()) == 3 }, waitTimeout, waitTimeout/100)
	letters := list()
	assert.Equal(t, "middleware", letters[0].Target)
	assert.Equal(t, "status_400", letters[0].Reason)
	assert.Equal(t, 1, letters[0].Attempts)
	assert.Nil(t, letters[0].Body)
	assert.NotContains(t, command("dead-letters"), "number 1")
	assert.EqualValues(t, 1, list("--content")[0].Body["imap-uid"])
	assert.Contains(t, command("dead-letters", "--content"), "number 1")
	assert.Len(t, list("--id", letters[1].ID), 1)
	assert.Len(t, list("--after", "1h"), 3)
	assert.Empty(t, list("--before", "1h"))
	assert.Empty(t, list("--target", "other"))

	for _, args := range [][]string{{"replay"}, {"replay", "first"}, {"dead-letters", "--id", "xyz"}, {"dead-letters", "delete"}, {"replay", "1", "--all"}, {"replay", "1", "--target", "middleware"}} {
		out, err := f.Command(append(append([]string{"dovecot-push"}, args...), "--address", f.Admin)...)
		require.Error(t, err, "%v %s", args, out)
	}

	require.NoError(t, f.Reload(strings.ReplaceAll(f.config, refusing, ox.addr)))
	assert.Contains(t, command("replay", fmt.Sprint(letters[0].Number)), "1 replayed")
	assert.EqualValues(t, 1, ox.wait(1)[0].UID)
	assert.Contains(t, command("dead-letters", "delete", "--id", letters[1].ID), "1 deleted")
	assert.Contains(t, command("replay", "--all"), "1 replayed")
	assert.EqualValues(t, 3, ox.wait(2)[1].UID)
	assert.Contains(t, command("dead-letters"), "no dead letters")
}
