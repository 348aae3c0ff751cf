// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"bytes"
	"fmt"
	"net/http"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
)

// meaning is what an answer of a push service says, whatever its status.
type meaning uint8

const (
	// otherKey: the subscription was made with another VAPID key. The device
	// alone is to blame, and another key may be right.
	otherKey meaning = iota
	// badToken: the service does not take the VAPID token, of any device. Its
	// contact or the clock of this machine is wrong.
	badToken
	// tooMany: this server sends too much.
	tooMany
	// tooManyToDevice: the device alone gets too much.
	tooManyToDevice
	// notThere: the device does not listen, and may come back.
	notThere
	// gone: the subscription has ended.
	gone
	// tooLong: a shorter message would be taken.
	tooLong
)

// says is what the meaning is in an error for an operator, and result what it
// is for the engine.
var meanings = map[meaning]struct {
	says   string
	result delivery.Result
}{
	otherKey: {
		"the subscription was made with another VAPID key, or the VAPID token is not good",
		delivery.Result{Outcome: delivery.Misconfigured, Fault: delivery.FaultOfItem},
	},
	badToken: {
		"the VAPID token is not good for any device: is contact a real address, and the clock of this machine right?",
		delivery.Result{Outcome: delivery.Misconfigured, Fault: delivery.FaultOfService},
	},
	tooMany:         {"too many messages come from here", delivery.Result{}},
	tooManyToDevice: {"too many messages are for this device", delivery.Result{Fault: delivery.FaultOfItem}},
	notThere:        {"the device does not listen", delivery.Result{Fault: delivery.FaultOfItem}},
	gone:            {"the subscription has ended", delivery.Result{Outcome: delivery.Gone}},
	tooLong:         {"the message is too long", delivery.Result{Outcome: delivery.Refused}},
}

// reasonTooLong is the reason of a message that a push service would take if it
// were shorter.
const reasonTooLong = "status_413"

// dialect is an answer by which a push service says something in its own way.
type dialect struct {
	vendor string // who answers so; "" for all
	status int
	reason string // a part of the body; "" for any
	meaning
	source string // where that is documented or was seen
	seen   string // when that was read
}

// dialects are looked through from the first to the last. They are told apart
// by what is answered, and not by who answers: users run services of their own.
// What is not in here means what [delivery.ResultOfStatus] says.
var dialects = []dialect{
	{
		"Apple", 400, `"VapidPkHashMismatch"`, otherKey,
		"https://developer.apple.com/documentation/usernotifications/sending-web-push-notifications-in-web-apps-and-browsers", "2026-11-30",
	},
	{"Apple", 403, `"BadJwtToken"`, badToken, "https://github.com/web-push-libs/web-push/issues/947", "2026-11-30"},
	{
		"Apple", 429, `"TooManyRequests"`, tooManyToDevice,
		"https://developer.apple.com/documentation/usernotifications/handling-notification-responses-from-apns", "2026-11-30",
	},
	{"Google", 400, "UnauthorizedRegistration", otherKey, "https://github.com/web-push-libs/web-push-php/issues/8", "2026-11-30"},
	{"Google", 403, "do not correspond to the credentials", otherKey, "https://github.com/web-push-libs/web-push/issues/941", "2026-11-30"},
	{"Mozilla", 401, `"errno": 109`, otherKey, "https://mozilla-services.github.io/autopush-rs/errors.html", "2026-11-30"},
	{
		"Microsoft", 406, "", tooMany,
		"https://learn.microsoft.com/windows/apps/windows-app-sdk/notifications/push-notifications/troubleshooting", "2026-11-30",
	},
	{"ntfy", 507, "", notThere, "https://github.com/binwiederhier/ntfy/issues/649", "2026-11-30"},

	{"", 401, "", otherKey, "RFC 8292, section 4.2", "2026-11-30"},
	{"", 403, "", otherKey, "RFC 8292, section 4.2", "2026-11-30"},
	{"", 404, "", gone, "RFC 8030, section 7.3", "2026-11-30"},
	{"", 410, "", gone, "RFC 8030, section 7.3", "2026-11-30"},
	{"", 413, "", tooLong, "RFC 8030, section 7.2", "2026-11-30"},
}

// resultOf is what an answer means. said is the beginning of its body.
func resultOf(resp *http.Response, said []byte, general delivery.Result) delivery.Result {
	if general.Outcome == delivery.Delivered {
		return general
	}
	text := http.StatusText(resp.StatusCode)
	for _, d := range dialects {
		if d.status == resp.StatusCode && bytes.Contains(said, []byte(d.reason)) {
			m := meanings[d.meaning]
			r := m.result
			r.Reason, r.After = general.Reason, general.After
			r.Err = fmt.Errorf("the push service answers %d %s: %s", resp.StatusCode, text, m.says)
			return r
		}
	}
	general.Err = fmt.Errorf("the push service answers %d %s", resp.StatusCode, text)
	return general
}
