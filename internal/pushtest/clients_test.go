// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// runClient runs a script of the folder independent, which uses a client that was not
// made here, and decodes what it prints into results.
func runClient(t *testing.T, script, npmPackage string, argument, results any) {
	t.Helper()
	_, err := os.Stat(filepath.Join("independent", "node_modules", npmPackage))
	require.NoError(t, err, "the npm packages of the tests are not installed: run internal/pushtest/install.sh, or make test")
	text, err := json.Marshal(argument)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "node", script, string(text))
	cmd.Dir = "independent"
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "%s", stderr.Bytes())
	require.NoError(t, json.Unmarshal(out, results), "%s", out)
}

type apnsProvider struct {
	Token struct {
		Key    string `json:"key"`
		KeyID  string `json:"keyId"`
		TeamID string `json:"teamId"`
	} `json:"token"`
	Notification map[string]any `json:"notification"`
	Devices      []string       `json:"devices"`
}

type apnsResult struct {
	Accepted  bool
	Status    int
	Reason    string
	Timestamp int64
	Error     string
}

// The stand-in of Apple's service accepts what an independent client sends, and the
// client understands why a notification is refused.
func TestIndependentClientOfAPNs(t *testing.T) {
	const topic, otherTopic = "com.example.mail", "com.example.calendar"
	s := StartAPNs(t, topic, otherTopic)
	app, plain, other, removed := s.Install(t, topic, ""), s.Install(t, topic, ""), s.Install(t, otherTopic, ""), s.Install(t, topic, "")
	removed.Uninstall()
	unknown := strings.Repeat("00", 32)

	var providers []*apnsProvider
	var want []map[string]apnsResult
	// Each provider has its own key: APNs refuses a new token for a key within 20
	// minutes of the previous one.
	expect := func(notification map[string]any, results map[string]apnsResult) *apnsProvider {
		t.Helper()
		key, id, err := s.NewKey()
		require.NoError(t, err)
		p := &apnsProvider{Notification: notification, Devices: slices.Collect(maps.Keys(results))}
		p.Token.Key, p.Token.KeyID, p.Token.TeamID = string(key), id, s.TeamID
		providers, want = append(providers, p), append(want, results)
		return p
	}
	accepted := apnsResult{Accepted: true}
	refused := func(status int, reason string) apnsResult { return apnsResult{Status: status, Reason: reason} }
	removedAt := removed.gone().UnixMilli()

	expect(map[string]any{"topic": topic, "pushType": "alert", "expiry": 0, "collapseId": "folder", "priority": 5}, map[string]apnsResult{
		app.Token:     accepted,
		unknown:       refused(400, "BadDeviceToken"),
		"no token":    refused(400, "BadDeviceToken"),
		other.Token:   refused(400, "DeviceTokenNotForTopic"),
		removed.Token: {Status: 410, Reason: "Unregistered", Timestamp: removedAt},
	})
	// Without what Apple documents as optional.
	expect(map[string]any{"topic": topic, "pushType": "alert", "priority": nil}, map[string]apnsResult{plain.Token: accepted})
	for _, is := range []struct {
		status       int
		reason       string
		notification map[string]any
	}{
		{400, "TopicDisallowed", map[string]any{"topic": "com.example.unknown", "pushType": "alert"}},
		{400, "MissingTopic", map[string]any{"pushType": "alert"}},
		{400, "InvalidPushType", map[string]any{"topic": topic, "pushType": "other"}},
		{400, "BadPriority", map[string]any{"topic": topic, "pushType": "alert", "priority": 7}},
		{400, "BadExpirationDate", map[string]any{"topic": topic, "pushType": "alert", "expiry": 1.5}},
		{400, "BadCollapseId", map[string]any{"topic": topic, "pushType": "alert", "collapseId": strings.Repeat("x", 65)}},
		{413, "PayloadTooLarge", map[string]any{"topic": topic, "pushType": "alert", "payload": strings.Repeat("x", 4096)}},
	} {
		expect(is.notification, map[string]apnsResult{app.Token: refused(is.status, is.reason)})
	}
	valid := map[string]any{"topic": topic, "pushType": "alert"}
	s.Revoke(expect(valid, map[string]apnsResult{app.Token: refused(403, "InvalidProviderToken")}).Token.KeyID)
	expect(valid, map[string]apnsResult{app.Token: refused(403, "InvalidProviderToken")}).Token.TeamID = "OTHERTEAM1"

	var results []map[string]apnsResult
	runClient(t, "apns.cjs", "@parse/node-apn", map[string]any{"origin": s.Origin, "ca": string(s.CA()), "providers": providers}, &results)
	assert.Equal(t, want, results)
	assert.Equal(t, 1, s.Tokens(providers[0].Token.KeyID), "the notifications of a provider share its token")
	require.Equal(t, []int{1, 1}, []int{app.Got(), plain.Got()})
	m := app.Wait(1)[0]
	assert.JSONEq(t, `{"@type":"Test"}`, string(m.Text))
	assert.Equal(t, []string{"0", "folder", "5"}, []string{m.Header.Get("Apns-Expiration"), m.Header.Get("Apns-Collapse-Id"), m.Header.Get("Apns-Priority")})
	m = plain.Wait(1)[0]
	assert.Empty(t, m.Header.Values("Apns-Expiration"))
	assert.Empty(t, m.Header.Values("Apns-Priority"))
}

// A client whose clock is two hours late sees that its provider token has expired, also
// after it renewed the token.
func TestIndependentClientOfAPNsWithLateClock(t *testing.T) {
	s := StartAPNs(t, "com.example.mail")
	s.Clock = func() time.Time { return time.Now().Add(2 * time.Hour) }
	app := s.Install(t, "com.example.mail", "")
	key, id, err := s.NewKey()
	require.NoError(t, err)
	p := apnsProvider{Notification: map[string]any{"topic": app.Name, "pushType": "alert"}, Devices: []string{app.Token}}
	p.Token.Key, p.Token.KeyID, p.Token.TeamID = string(key), id, s.TeamID
	var results []map[string]apnsResult
	runClient(t, "apns.cjs", "@parse/node-apn", map[string]any{"origin": s.Origin, "ca": string(s.CA()), "providers": []any{p}}, &results)
	assert.Equal(t, []map[string]apnsResult{{app.Token: {Status: 403, Error: "ExpiredProviderToken"}}}, results)
	assert.Greater(t, s.Posts(), 1, "it tries again")
}

type fcmMessage struct {
	Message map[string]any `json:"message"`
	DryRun  bool           `json:"dryRun"`
}

type fcmServer struct {
	Account  map[string]string `json:"account"`
	Messages []fcmMessage      `json:"messages"`
}

type fcmResult struct{ ID, Code, Message string }

// codes returns the error codes of messages, which are empty for accepted ones.
func codes(results []fcmResult) []string {
	var codes []string
	for _, r := range results {
		codes = append(codes, r.Code)
	}
	return codes
}

// The stand-in of Google's service accepts what an independent client sends, and the
// client understands why a message is refused.
func TestIndependentClientOfFCM(t *testing.T) {
	s := StartFCM(t)
	app, plain, other, removed := s.Install(t, s.Project), s.Install(t, s.Project), s.Install(t, "other-app-5678"), s.Install(t, s.Project)
	removed.Uninstall()
	server := func(messages ...fcmMessage) (is fcmServer, keyID string) {
		t.Helper()
		file, keyID, err := s.NewAccount()
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(file, &is.Account))
		is.Messages = messages
		return is, keyID
	}
	message := func(token string, data map[string]string) fcmMessage {
		return fcmMessage{Message: map[string]any{"token": token, "data": data}}
	}
	data := map[string]string{"message": `{"@type":"Test"}`}
	full := message(app.Token, data)
	full.Message["android"] = map[string]any{
		"collapseKey": "folder", "priority": "high", "ttl": 90_500,
		"notification": map[string]string{"bodyLocKey": "new_mail", "tag": "folder"},
	}
	dry := message(app.Token, data)
	dry.DryRun = true

	first, _ := server(
		full,
		message(plain.Token, data), // without what Google documents as optional
		dry,
		message(removed.Token, data),
		message(other.Token, data),
		message("no token", data),
		message(app.Token, map[string]string{"google.x": "reserved"}),
		message(app.Token, map[string]string{"message": strings.Repeat("x", 4097)}),
	)
	revoked, keyID := server(message(app.Token, data))
	s.Revoke(keyID)
	otherAccount, _ := server(message(app.Token, data))
	otherAccount.Account["client_email"] = "push@other-app-5678.iam.gserviceaccount.com"
	otherProject, _ := server(message(app.Token, data))
	otherProject.Account["project_id"] = "other-app-5678"

	var results [][]fcmResult
	runClient(t, "fcm.cjs", "firebase-admin", map[string]any{
		"origin": s.Origin, "ca": string(s.CA()), "servers": []fcmServer{first, revoked, otherAccount, otherProject},
	}, &results)
	require.Len(t, results, 4)
	assert.Equal(t, []string{
		"", "", "", "messaging/registration-token-not-registered", "messaging/mismatched-credential",
		"messaging/invalid-argument", "messaging/invalid-argument", "messaging/invalid-argument",
	}, codes(results[0]))
	for _, r := range results[0][:3] {
		assert.Regexp(t, "^projects/"+s.Project+"/messages/.", r.ID)
	}
	assert.Equal(t, []string{"app/invalid-credential"}, codes(results[1]))
	assert.Contains(t, results[1][0].Message, "invalid_grant: Invalid JWT Signature.", "the key was revoked")
	assert.Equal(t, []string{"app/invalid-credential"}, codes(results[2]))
	assert.Contains(t, results[2][0].Message, "account not found")
	assert.Equal(t, []string{"messaging/mismatched-credential"}, codes(results[3]), "what the client makes of PERMISSION_DENIED")
	assert.Equal(t, 4, s.Exchanges(), "the messages of a server share its access token")

	require.Equal(t, []int{1, 1, 0, 0}, []int{app.Got(), plain.Got(), other.Got(), removed.Got()})
	m := app.Wait(1)[0]
	assert.JSONEq(t, data["message"], string(m.Text))
	assert.JSONEq(t, `{"message": {
		"token": "`+app.Token+`", "data": {"message": "{\"@type\":\"Test\"}"},
		"android": {"collapse_key": "folder", "priority": "high", "ttl": "90.500000000s", "notification": {"body_loc_key": "new_mail", "tag": "folder"}}
	}}`, string(m.Body))
}
