// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// ticketsOf are what a program of a device makes of a message, by action.
func ticketsOf(t *testing.T, m pushtest.Message) map[string]map[string]any {
	t.Helper()
	var mail struct {
		Folder           string
		UID, UIDValidity float64
		Actions          struct {
			User, Device string
			Expires      float64
			Offer        []struct{ Action, Token string }
		}
	}
	require.NoError(t, json.Unmarshal(m.Plain, &mail))
	tickets := make(map[string]map[string]any)
	for _, o := range mail.Actions.Offer {
		tickets[o.Action] = map[string]any{
			"user": mail.Actions.User, "device": mail.Actions.Device, "action": o.Action, "folder": mail.Folder, "uid": mail.UID,
			"uidValidity": mail.UIDValidity, "expires": mail.Actions.Expires, "token": o.Token,
		}
	}
	return tickets
}

// What is chosen on a notification is done in Dovecot, by DoveAdm and as
// a master user, and can be undone; nobody signs in for it. What was not offered is
// refused.
func TestActionsOfNotifications(t *testing.T) {
	t.Parallel()
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		const alice = "user0@example.com"
		service := pushtest.Start(t)
		f := &withAPI{newFront(t, startMiddleware(t).addr), freeAddress(t)}
		dovecot := dovecottest.Start(t, dovecottest.Config{
			Version: version, Users: users(2), ExtraConfig: patient(version), IMAPMetadata: true, Master: dovecottest.User{Name: "boss", Password: "key"},
			Drivers: []dovecottest.Driver{{URL: f.url("http"), Timeout: 10 * time.Second, MaxAttempts: 2}},
		})
		for _, mailbox := range []string{"Büro/Archiv", "Trash"} {
			_, err := dovecot.Doveadm("mailbox", "create", "-u", alice, mailbox)
			require.NoError(t, err)
		}
		f.Setenv("MASTER_PASSWORD=key")
		const by = "register on_subscribe {\n"
		f.config = strings.Replace(f.config, "dovecot_push {\n", "dovecot_push {\nactions archive trash read {\narchive_mailbox Büro/Archiv\n}\n"+
			"imap imap://"+dovecot.IMAPAddr()+" {\nmaster_user boss {env.MASTER_PASSWORD}\n}\n", 1)
		f.deliverToDevices(t, dovecot, service)
		client, err := doveadm.New(doveadm.Config{Endpoints: []string{dovecot.DoveAdmURL()}, APISecret: dovecot.APIKey()})
		require.NoError(t, err)
		defer client.Close()
		// where is the mailbox of a mail, and whether it was read.
		where := func(guid string) (mailbox string, seen bool) {
			t.Helper()
			mails, err := client.Fetch(t.Context(), alice, []string{"guid", guid}, "mailbox", "flags")
			require.NoError(t, err)
			require.Len(t, mails, 1)
			return mails[0]["mailbox"], strings.Contains(mails[0]["flags"], `\Seen`)
		}
		person, stranger := f.person(t), f.person(t)
		require.Equal(t, http.StatusOK, person.signIn(alice, "pass"))
		phone, path := person.subscribe(service)
		tablet, _ := person.subscribe(service)
		require.Eventually(t, func() bool {
			out, _ := dovecot.Doveadm("mailbox", "metadata", "get", "-s", "-u", alice, "", dovecottest.MetadataKey)
			return strings.Contains(out, "user="+alice)
		}, waitTimeout, 50*time.Millisecond)
		post := func(ticket any) (int, map[string]any) {
			t.Helper()
			body, err := json.Marshal(ticket)
			require.NoError(t, err)
			return stranger.call(http.MethodPost, "/api/actions", string(body))
		}

		came := 1
		for _, via := range []string{"doveadm", "imap"} {
			require.NoError(t, f.Reload(strings.Replace(f.config, by, by+"via "+via+"\n", 1)))
			for action, want := range map[string]struct {
				mailbox string
				seen    bool
			}{"read": {"INBOX", true}, "archive": {"Büro/Archiv", false}, "trash": {"Trash", false}} {
				deliver(t, dovecot, action, alice)
				came++
				of := ticketsOf(t, phone.Wait(came)[came-1])
				ofTablet := ticketsOf(t, tablet.Wait(came)[came-1])
				require.Len(t, of, 3)
				ticket := of[action]
				mails, err := client.Fetch(t.Context(), alice, []string{"mailbox", "INBOX", "uid", fmt.Sprint(ticket["uid"])}, "guid")
				require.NoError(t, err)
				require.Len(t, mails, 1)
				guid := mails[0]["guid"]

				for name, change := range map[string]map[string]any{
					"another mail":   {"uid": ticket["uid"].(float64) + 1},
					"another user":   {"user": "user1@example.com"},
					"another device": {"device": ofTablet[action]["device"]},
					"another action": {"action": "restore", "to": "Trash"},
					"longer":         {"expires": ticket["expires"].(float64) + 1},
				} {
					forged := maps.Clone(ticket)
					maps.Copy(forged, change)
					status, got := post(forged)
					assert.Contains(t, []int{http.StatusForbidden, http.StatusTooManyRequests}, status, "%s: %v", name, got) // guesses are limited
				}
				mailbox, seen := where(guid)
				assert.Equal(t, []any{"INBOX", false}, []any{mailbox, seen})

				start := time.Now()
				status, got := post(ticket)
				took := time.Since(start)
				require.Equal(t, http.StatusOK, status, got)
				mailbox, seen = where(guid)
				assert.Equal(t, []any{want.mailbox, want.seen}, []any{mailbox, seen})
				status, _ = post(ticket)
				assert.Equal(t, http.StatusConflict, status, "it is used up")
				status, undone := post(got["undo"])
				require.Equal(t, http.StatusOK, status, undone)
				mailbox, seen = where(guid)
				assert.Equal(t, []any{"INBOX", false}, []any{mailbox, seen})
				t.Logf("%s by %s: %v", action, via, took)
			}
		}
		deliver(t, dovecot, "last", alice)
		last := ticketsOf(t, phone.Wait(came + 1)[came])
		status, _ := person.call(http.MethodDelete, path, "")
		require.Equal(t, http.StatusNoContent, status)
		status, got := post(last["read"])
		assert.Equal(t, http.StatusGone, status, got)
		metrics := mustMetrics(t, f.front)
		for _, line := range []string{`actions_total{action="archive",result="done"} 2`, `actions_total{action="read",result="expired"} 1`} {
			assert.Contains(t, metrics, "caddy_dovecot_push_"+line)
		}
		assert.NotContains(t, f.Log(), last["read"]["token"])
	})
}
