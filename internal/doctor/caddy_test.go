// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

// admin answers with what the test says: an error, or what becomes JSON.
func admin(answers map[string]any) (a Admin, asked *[]string) {
	asked = new([]string)
	return Admin{Address: "localhost:2019", Ask: func(_, path string, answer any) error {
		*asked = append(*asked, path)
		value, ok := answers[path]
		if !ok {
			return errors.New("unexpected: " + path)
		}
		if err, is := value.(error); is {
			return err
		}
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		return json.Unmarshal(text, answer)
	}}, asked
}

// sound is what a Caddy answers that nothing is wrong with.
func sound() (*adminapi.Status, map[string]any) {
	s := &adminapi.Status{
		Endpoints: []adminapi.EndpointStatus{{Path: notifyPath, Credentials: true}},
		Queue:     adminapi.QueueStatus{Up: true},
		Targets:   []adminapi.TargetStatus{{Name: "middleware", Up: true}},
	}
	return s, map[string]any{
		"/dovecot_push/status": s, "/config/apps/http": map[string]any{},
		"/dovecot_push/probe": []adminapi.Probe{{Kind: "queue", OK: true}, {Kind: "target", Name: "middleware", Asked: "PUT", Answered: "it answers", OK: true}},
	}
}

func TestCaddySound(t *testing.T) {
	want, answers := sound()
	a, asked := admin(answers)
	found, status := Caddy(a, "")
	assert.Empty(t, complaints(found))
	assert.Equal(t, want, status)
	assert.NotContains(t, *asked, "/dovecot_push/vapid", "asked for keys of Web Push, which is not configured")
}

// What Caddy remembers is not what counts: the answers of now are.
func TestProbesDecide(t *testing.T) {
	for name, c := range map[string]struct {
		status    func(*adminapi.Status)
		probe     adminapi.Probe
		want      Status
		says, fix string
	}{
		"DoveAdm in service, and stopped since": {
			func(s *adminapi.Status) { s.DoveAdm = []adminapi.DoveAdmStatus{{Endpoint: "imap1:8080", Up: true}} },
			adminapi.Probe{Kind: "doveadm", Name: "imap1:8080", Answered: "no connection", Reason: "unreachable"},
			Problem, "no connection", "firewall",
		},
		"DoveAdm with another key": {
			func(s *adminapi.Status) { s.DoveAdm = []adminapi.DoveAdmStatus{{Endpoint: "imap1:8080", Up: true}} },
			adminapi.Probe{Kind: "doveadm", Name: "imap1:8080", Answered: "status 401", Reason: "bad_secret"},
			Problem, "401", "doveadm_api_key",
		},
		"DoveAdm out of service, and back since": {
			func(s *adminapi.Status) {
				s.DoveAdm = []adminapi.DoveAdmStatus{{Endpoint: "imap1:8080", Error: "no connection"}}
			},
			adminapi.Probe{Kind: "doveadm", Name: "imap1:8080", Answered: "200 OK", OK: true},
			OK, "", "",
		},
		"strangers at an endpoint with credentials": {
			func(s *adminapi.Status) { s.Endpoints[0].Everybody = false },
			adminapi.Probe{Kind: "guard", Name: notifyPath, Asked: "requests from 203.0.113.77", Answered: "everybody may come in"},
			Warning, "everybody", "allow",
		},
		"strangers at one without": {
			func(s *adminapi.Status) { s.Endpoints[0].Credentials = false },
			adminapi.Probe{Kind: "guard", Name: notifyPath, Answered: "everybody may come in"},
			Problem, "nothing is asked for", "add credentials",
		},
		"nobody": {
			func(s *adminapi.Status) { s.Endpoints[0].Nobody = true },
			adminapi.Probe{Kind: "guard", Name: notifyPath, Answered: "strangers stay out", OK: true},
			Problem, "nobody is allowed", "allow",
		},
		"strangers stay out": {
			func(s *adminapi.Status) { s.Endpoints[0].Everybody = true },
			adminapi.Probe{Kind: "guard", Name: notifyPath, Answered: "strangers stay out", OK: true},
			OK, "", "",
		},
		"registration worked, and fails now": {
			func(s *adminapi.Status) { s.Registration = &adminapi.RegistrationStatus{Via: "doveadm", Up: true} },
			adminapi.Probe{Kind: "registration", Name: "doveadm", Answered: "no endpoint is in service"},
			Problem, "no endpoint", "Mend that",
		},
		"registration failed, and works now": {
			func(s *adminapi.Status) {
				s.Registration = &adminapi.RegistrationStatus{Via: "doveadm", Error: "no endpoint is in service"}
			},
			adminapi.Probe{Kind: "registration", Name: "doveadm", Answered: "it can be read", OK: true},
			OK, "", "",
		},
		"registration of nobody failed": {
			func(s *adminapi.Status) {
				s.Registration = &adminapi.RegistrationStatus{Via: "doveadm", Error: "wrong secret"}
			},
			adminapi.Probe{Kind: "registration", Name: "doveadm", Skipped: true, Answered: "nobody is registered yet"},
			Problem, "wrong secret", "Mend that",
		},
		"contact": {nil, adminapi.Probe{Kind: "contact", Name: "webpush", Answered: "no name of the Internet"}, Problem, "no name", "postmaster@"},
		"IMAP":    {nil, adminapi.Probe{Kind: "imap", Answered: "refused"}, Problem, "refused", "imap-login"},
		"users":   {nil, adminapi.Probe{Kind: "users", Answered: "users cannot be listed"}, Problem, "cannot be listed", "iterate"},
		"queue":   {nil, adminapi.Probe{Kind: "queue", Answered: "disk full"}, Problem, "disk full", "disk"},
		"target up, and refuses now": {
			nil, adminapi.Probe{Kind: "target", Name: "middleware", Answered: "the middleware answers 401 Unauthorized", Reason: "status_401"}, Problem, "401", "credentials",
		},
		"target whose key is refused": {
			nil, adminapi.Probe{Kind: "target", Name: "middleware", Answered: "the key was revoked", Reason: "invalid_provider_token"}, Problem, "revoked", "clock",
		},
		"key that ends soon": {
			nil, adminapi.Probe{Kind: "key", Name: "fcm", Answered: "in use since 2026-01-02, ends on 2026-12-31"}, Warning, "ends on", "another key",
		},
		"key without an end": {nil, adminapi.Probe{Kind: "key", Name: "apns", OK: true, Answered: "without an end"}, OK, "", ""},
		"target down, and back since": {
			func(s *adminapi.Status) {
				s.Targets[0].Up, s.Targets[0].LastFailure = false, &adminapi.TargetFailure{Time: time.Now(), Reason: "connect"}
			},
			adminapi.Probe{Kind: "target", Name: "middleware", OK: true},
			Warning, "answers now", "",
		},
		"target that failed once": {
			func(s *adminapi.Status) {
				s.Targets[0].LastFailure = &adminapi.TargetFailure{Time: time.Now(), Reason: "status_500", Error: "the middleware answers 500"}
			},
			adminapi.Probe{Kind: "target", Name: "middleware", OK: true},
			Warning, "answers 500", "",
		},
		"target that cannot be asked, and is down": {
			func(s *adminapi.Status) { s.Targets[0].Up = false }, adminapi.Probe{Kind: "target", Name: "middleware", Skipped: true}, Problem, "it is down", "log",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, answers := sound()
			if c.status != nil {
				c.status(s)
			}
			answers["/dovecot_push/probe"] = []adminapi.Probe{c.probe}
			a, _ := admin(answers)
			found, _ := Caddy(a, "")
			bad := complaints(found)
			if c.want == OK {
				require.Empty(t, bad)
				return
			}
			require.Len(t, bad, 1)
			assert.Equal(t, c.want, bad[0].Status)
			assert.Contains(t, bad[0].Got, c.says)
			assert.Contains(t, bad[0].Fix, c.fix)
		})
	}
}

// Which targets there are is not known before the queue is open: then that is
// the one problem that is named.
func TestCaddyWithoutTargets(t *testing.T) {
	s, answers := sound()
	s.Targets = nil
	answers["/dovecot_push/probe"] = []adminapi.Probe{{Kind: "queue", OK: true}}
	a, _ := admin(answers)
	found, _ := Caddy(a, "")
	requireOne(t, found, "targets", "no target")
	s.Queue.Up = false
	answers["/dovecot_push/probe"] = []adminapi.Probe{{Kind: "queue", Answered: "the queue is not open yet"}}
	found, _ = Caddy(a, "")
	requireOne(t, found, "queue", "not open")
}

func TestCaddyThatCannotBeAsked(t *testing.T) {
	a, _ := admin(map[string]any{"/dovecot_push/status": errors.New(adminapi.Starting + ": …")})
	found, status := Caddy(a, "")
	assert.Nil(t, status)
	requireOne(t, found, "caddy", adminapi.Starting)
	assert.Contains(t, found[0].Fix, "Wait")
	a, _ = admin(map[string]any{"/dovecot_push/status": errors.New("no dovecot_push")})
	found, _ = Caddy(a, "")
	assert.Contains(t, found[0].Fix, "global option")
}

// An entry that could not be read is not one that is not there.
func TestEntryOfAUser(t *testing.T) {
	const path = "/dovecot_push/registrations?user=alice"
	for says, answer := range map[string]any{
		"could not be read: no endpoint is in service": map[string]any{"state": "registered", "error": "no endpoint is in service"},
		"there is none (unregistered)":                 map[string]any{"state": "unregistered", "value": ""},
		"knows no user":                                map[string]any{"state": "unregistered"},
		"no user=":                                     map[string]any{"state": "conflict", "value": "x=y"},
		"the queue":                                    errors.New("the queue is away"),
		"":                                             map[string]any{"state": "conflict", "value": "user=17@4"},
		"skipped":                                      map[string]any{"state": "wanted", "reason": "needs_login"},
	} {
		s, answers := sound()
		s.Registration = &adminapi.RegistrationStatus{Up: true, Via: "doveadm"}
		answers[path] = answer
		a, _ := admin(answers)
		found, _ := Caddy(a, "alice")
		if says == "" || says == "skipped" {
			assert.Empty(t, complaints(found))
			continue
		}
		requireOne(t, found, "registered", says)
		if strings.HasPrefix(says, "could not") {
			assert.NotContains(t, complaints(found)[0].Fix, "register")
		}
	}
}

// A user's last mail was reported, or it was found and something is wrong.
func TestReported(t *testing.T) {
	at := time.Date(2026, 11, 23, 16, 16, 18, 0, time.UTC)
	before := at.Add(-time.Hour)
	for _, tt := range []struct {
		mails  adminapi.CatchUpUser
		change func(*adminapi.Status)
		says   string
		fix    string
	}{
		{adminapi.CatchUpUser{Reported: &at, Found: &before}, nil, "", ""},
		{adminapi.CatchUpUser{}, nil, "", ""},
		{adminapi.CatchUpUser{Reported: &at, Missing: 2}, nil, "2 mails", "catch-up"},
		{adminapi.CatchUpUser{Found: &at}, func(s *adminapi.Status) { s.Requests["unauthorized"] = 1 }, "the catch-up found it", "credentials"},
		{adminapi.CatchUpUser{Found: &at}, func(s *adminapi.Status) { s.Refused = map[string]uint64{"forbidden": 1} }, "the catch-up found it", "allow"},
		{adminapi.CatchUpUser{Found: &at}, func(s *adminapi.Status) { s.Requests["accepted"] = 0 }, "the catch-up found it", "reach the endpoint"},
		{adminapi.CatchUpUser{Found: &at, Reported: &before}, nil, "the catch-up found it", "push_notification"},
	} {
		s, answers := sound()
		s.Registration = &adminapi.RegistrationStatus{Up: true, Via: "doveadm"}
		s.CatchUp = &adminapi.CatchUpStatus{Leads: true}
		s.Requests = map[string]uint64{"accepted": 1}
		s.Refused = nil
		if tt.change != nil {
			tt.change(s)
		}
		answers["/dovecot_push/registrations?user=alice"] = map[string]any{"state": "registered", "value": "user=alice"}
		answers["/dovecot_push/catch_up?user=alice"] = tt.mails
		a, _ := admin(answers)
		found, _ := Caddy(a, "alice")
		if tt.says == "" {
			assert.Empty(t, complaints(found))
			continue
		}
		requireOne(t, found, "reported", tt.says)
		assert.Contains(t, complaints(found)[0].Fix, tt.fix)
	}
}

// The keys of Web Push are asked for where it is a target, and nowhere else.
func TestKeysOfWebPush(t *testing.T) {
	s, answers := sound()
	s.Targets = append(s.Targets, adminapi.TargetStatus{Name: "webpush", Up: true})
	answers["/dovecot_push/vapid"] = json.RawMessage(`{"keys":[{"public_key":"key","devices":3}]}`)
	a, _ := admin(answers)
	found, _ := Caddy(a, "")
	assert.Empty(t, complaints(found))
	assert.Equal(t, "1, 3 devices use the newest", found[len(found)-1].Got)
	answers["/dovecot_push/vapid"] = json.RawMessage(`{"keys":[]}`)
	found, _ = Caddy(a, "")
	requireOne(t, found, "webpush-keys", "none")
}
