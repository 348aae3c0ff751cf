// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A client that was not made here gets from the stand-in of Apple's service what it
// would get from Apple.
func TestIndependentClientOfAPNs(t *testing.T) {
	_, err := os.Stat(filepath.Join("independent", "node_modules", "@parse", "node-apn"))
	require.NoError(t, err, "the npm packages of the tests are not installed: run internal/pushtest/install.sh, or make test")
	s := StartAPNs(t, "com.example.mail")
	app := s.Install(t, "com.example.mail", "")
	send := func(team, topic, device string) (sent int, reason string) {
		t.Helper()
		key, id, err := s.NewKey() // another process with the same one would be a process too many
		require.NoError(t, err)
		is, err := json.Marshal(map[string]any{
			"origin": s.Origin, "ca": string(s.CA()),
			"token": map[string]string{"key": string(key), "keyId": id, "teamId": team}, "topic": topic, "device": device,
		})
		require.NoError(t, err)
		cmd := exec.Command("node", "apns.cjs", string(is))
		cmd.Dir = "independent"
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		require.NoError(t, err, "%s", stderr.Bytes())
		var result struct {
			Sent   int
			Reason string
		}
		require.NoError(t, json.Unmarshal(out, &result), "%s", out)
		return result.Sent, result.Reason
	}
	sent, reason := send(s.TeamID, app.Name, app.Token)
	require.Equal(t, []any{1, ""}, []any{sent, reason})
	m := app.Wait(1)[0]
	assert.JSONEq(t, `{"@type":"Test"}`, string(m.Text))
	assert.Equal(t, "folder", m.Header.Get("Apns-Collapse-Id"))
	for want, is := range map[string][3]string{
		"BadDeviceToken":       {s.TeamID, app.Name, strings.Repeat("00", 32)},
		"TopicDisallowed":      {s.TeamID, "com.example.other", app.Token},
		"InvalidProviderToken": {"OTHERTEAM1", app.Name, app.Token},
	} {
		sent, reason := send(is[0], is[1], is[2])
		assert.Equal(t, []any{0, want}, []any{sent, reason})
	}
	app.Uninstall()
	_, reason = send(s.TeamID, app.Name, app.Token)
	assert.Equal(t, "Unregistered", reason)
}
