// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"cmp"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// declaration is what makes a declarative push message of a message (Push API,
// "Declarative push message"): a browser that knows these shows the notification
// itself if the page's service worker does not, as when it was evicted. Other
// browsers and older workers read the members beside it.
type declaration struct {
	WebPush      int      `json:"web_push"`
	Notification proposal `json:"notification"`
	// Mutable lets the service worker show another notification instead.
	Mutable bool `json:"mutable"`
	// AppBadge is the number on the icon.
	AppBadge *uint32 `json:"app_badge,omitempty"`
}

// proposal is a notification as the browser shows it. AppBadge and Mutable are read
// here by the first versions of Safari that read them at all.
type proposal struct {
	Title    string  `json:"title"`
	Body     string  `json:"body,omitempty"`
	Navigate string  `json:"navigate"`
	Lang     string  `json:"lang"`
	Dir      string  `json:"dir"`
	Tag      string  `json:"tag,omitempty"`
	Silent   bool    `json:"silent,omitempty"`
	AppBadge *uint32 `json:"app_badge,omitempty"`
	Mutable  bool    `json:"mutable"`
	// Data is what the service worker gets instead of the message itself: all
	// that the notification does not say.
	Data json.RawMessage `json:"data,omitempty"`
}

// webPush says that a message is a declarative one: the number of the RFC.
const webPush = 8030

// declare adds a notification to a message, which is a JSON object.
func declare(message []byte, p proposal) ([]byte, error) {
	p.Dir, p.Mutable = "auto", true
	added, err := device.Encode(declaration{WebPush: webPush, Notification: p, Mutable: true, AppBadge: p.AppBadge})
	if err != nil {
		return nil, err
	}
	return append(append(message[:len(message)-1:len(message)-1], ','), added[1:]...), nil
}

// encodings are how a mail is encoded for a device, the best first. The others are
// for mails in folders with names that leave no room. Only the page of a browser is
// declared: other devices have no page that a notification could open.
func (s *Devices) encodings(d *subscription.Subscription) []func(notification.Mail) ([]byte, error) {
	if d.Page == "" {
		return []func(notification.Mail) ([]byte, error){device.EncodeMail}
	}
	return []func(notification.Mail) ([]byte, error){
		func(m notification.Mail) ([]byte, error) { return s.declareMail(d, m, true) },
		func(m notification.Mail) ([]byte, error) { return s.declareMail(d, m, false) },
		device.EncodeMail,
	}
}

// declareMail is a mail with its notification. The folder and what the service worker
// gets are left out of the notification if there is no room for them.
func (s *Devices) declareMail(d *subscription.Subscription, m notification.Mail, complete bool) ([]byte, error) {
	message, err := device.EncodeMail(m)
	if err != nil {
		return nil, err
	}
	texts, lang := s.texts(d)
	p := proposal{Navigate: d.Page, Lang: lang, Silent: d.Preferences.Urgency == subscription.Normal}
	if m.Folder == inbox {
		p.AppBadge = m.Unseen
	}
	switch {
	case m.Event.Withdraws():
		p.Title, p.Tag, p.Silent = texts["notification.upToDate"], "up-to-date", true
	case complete:
		p.Title, p.Body = title(texts, &m, m.Folder), body(texts, &m)
		p.Tag, p.Navigate = "mail:"+m.Folder, d.Page+"#"+place(&m)
	default:
		p.Title, p.Body = title(texts, &m, inbox), body(texts, &m)
	}
	if complete {
		m.From, m.Subject, m.Snippet = "", "", ""
		if p.Data, err = device.EncodeMail(m); err != nil {
			return nil, err
		}
	}
	return declare(message, p)
}

// declareNotice is a message about the device itself, with its notification.
func (s *Devices) declareNotice(d *subscription.Subscription, about string, message []byte) ([]byte, error) {
	if d.Page == "" {
		return message, nil
	}
	texts, lang := s.texts(d)
	about = "notification." + about
	return declare(message, proposal{
		Title: texts[about+".title"], Body: texts[about+".text"], Navigate: d.Page, Lang: lang, Tag: "device", Data: message,
	})
}

// texts are those of the language of the page, or English.
func (s *Devices) texts(d *subscription.Subscription) (texts map[string]string, lang string) {
	if texts = s.Texts[d.Lang]; texts != nil {
		return texts, d.Lang
	}
	return s.Texts["en"], "en"
}

// inbox is the folder in which everybody expects mail, and whose unseen mails the
// icon counts.
const inbox = "INBOX"

// title says who a mail is from, and where it is if that is not the INBOX.
func title(texts map[string]string, m *notification.Mail, folder string) string {
	name := cmp.Or(notification.SenderName(m.From), texts["notification.newMail"])
	if folder == inbox {
		return name
	}
	return strings.NewReplacer("{name}", name, "{folder}", folder).Replace(texts["notification.inFolder"])
}

func body(texts map[string]string, m *notification.Mail) string {
	switch {
	case m.Subject != "" && m.Snippet != "":
		return m.Subject + "\n" + m.Snippet
	case m.Subject == "" && m.Snippet == "" && m.From != "":
		return texts["mail.noSubject"]
	}
	return m.Subject + m.Snippet
}

// place names a mail in the fragment of the page's URL, which opens it there.
func place(m *notification.Mail) string {
	return url.Values{"folder": {m.Folder}, "uid": {strconv.FormatUint(uint64(m.UID), 10)}}.Encode()
}
