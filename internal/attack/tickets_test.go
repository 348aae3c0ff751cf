// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// holder is somebody with a device that gets tickets: each permits one action with
// one mail.
type holder struct {
	in     *installation
	client *http.Client
	user   string
	phone  *pushtest.Device
	id     string
}

// newHolder adds a device of a user, and confirms it; nil if it may not.
func (in *installation) newHolder(client *http.Client, user string) *holder {
	h := &holder{in: in, client: client, user: user}
	var err error
	if h.phone, err = in.push.NewDevice(in.serverKey); err != nil {
		panic(err)
	}
	if h.id = identity(h.api(http.MethodPost, "subscriptions", h.phone.JSON(map[string]any{"name": "Phone"}))); h.id == "" {
		return nil
	}
	message := h.find(`"verificationCode"`)
	var code struct{ VerificationCode string }
	_ = json.Unmarshal(message, &code)
	if h.api(http.MethodPatch, "subscriptions/"+h.id, `{"verificationCode":`+quoted(code.VerificationCode)+`}`).status != http.StatusOK {
		return nil
	}
	return h
}

func (h *holder) api(method, path, body string) answer {
	return h.in.api(h.client, method, path, body, basic(h.user, password))
}

// find waits for a message with a part, for as long as somebody has patience.
func (h *holder) find(part string) []byte {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		messages, err := h.phone.Messages()
		if err != nil {
			panic(err)
		}
		for _, m := range messages {
			if strings.Contains(string(m.Plain), part) {
				return m.Plain
			}
		}
	}
	return nil
}

// ticket reports a mail to the holder, and returns what permits to mark it as read;
// empty if the mail did not come.
func (h *holder) ticket(uid int) string {
	if h.in.notify(h.client, notification(h.user, uid)).status != http.StatusOK {
		return ""
	}
	var mail struct {
		Folder           string
		UID, UIDValidity int
		Actions          struct {
			User, Device string
			Expires      int64
			Offer        []struct{ Action, Token string }
		}
	}
	if err := json.Unmarshal(h.find(fmt.Sprintf(`"uid":%d,`, uid)), &mail); err != nil || len(mail.Actions.Offer) == 0 {
		return ""
	}
	ticket, err := json.Marshal(map[string]any{
		"user": mail.Actions.User, "device": mail.Actions.Device, "action": mail.Actions.Offer[0].Action, "folder": mail.Folder,
		"uid": mail.UID, "uidValidity": mail.UIDValidity, "expires": mail.Actions.Expires, "token": mail.Actions.Offer[0].Token,
	})
	if err != nil {
		panic(err)
	}
	return string(ticket)
}

// forged is a ticket that nobody wrote.
func forged(user, token string) string {
	return fmt.Sprintf(`{"user":%s,"device":"x","action":"read","folder":%s,"uid":1,"uidValidity":1,"expires":4102444800,"token":%s}`,
		quoted(user), quoted(user), quoted(token))
}
