// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"cmp"
	"strconv"
	"strings"

	"golang.org/x/text/feature/plural"
	"golang.org/x/text/language"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery/device"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// declareSummary is a summary with its notification.
func (s *Devices) declareSummary(d *subscription.Subscription, summary notification.Summary) ([]byte, error) {
	message, err := device.Encode(summary)
	if err != nil || d.Page == "" {
		return message, err
	}
	texts, lang := s.texts(d)
	p := proposal{
		Navigate: d.Page, Lang: lang, Tag: "summary", AppBadge: summary.Unseen, Data: message,
		Silent: d.Preferences.Urgency == subscription.Normal,
	}
	if summary.Count == 0 {
		p.Title, p.Tag, p.Silent = texts["notification.upToDate"], "up-to-date", true
	} else {
		p.Title, p.Body = summaryTexts(texts, lang, &summary)
	}
	return declare(message, p)
}

// summaryTexts are how many mails there are, and from whom. The page does the same
// (js/notification.js).
func summaryTexts(texts map[string]string, lang string, s *notification.Summary) (title, body string) {
	count := strconv.Itoa(s.Count)
	if s.More {
		count += "+"
	}
	title = fill(counted(texts, lang, "notification.summary", s.Count), "count", count)
	if len(s.From) == 0 {
		return title, ""
	}
	names := strings.Join(s.From, ", ")
	if s.Others == 0 {
		return title, fill(texts["notification.from"], "names", names)
	}
	return title, fill(counted(texts, lang, "notification.fromOthers", s.Others), "names", names, "count", strconv.Itoa(s.Others))
}

// forms are the names of the forms of a plural in the catalogues.
var forms = map[plural.Form]string{plural.Zero: "zero", plural.One: "one", plural.Two: "two", plural.Few: "few", plural.Many: "many"}

// counted is the text for a number.
func counted(texts map[string]string, lang, key string, count int) string {
	form := plural.Cardinal.MatchPlural(language.Make(lang), count, 0, 0, 0, 0)
	return cmp.Or(texts[key+"."+forms[form]], texts[key+".other"])
}

// fill fills in the placeholders of a text.
func fill(text string, values ...string) string {
	for i := 0; i < len(values); i += 2 {
		values[i] = "{" + values[i] + "}"
	}
	return strings.NewReplacer(values...).Replace(text)
}
