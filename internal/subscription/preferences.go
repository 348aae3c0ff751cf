// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/printable"
)

// Bounds of [Preferences], for each device.
const (
	// MaxFolders and MaxFoldersSize bound the folders, the latter in bytes.
	MaxFolders     = 20
	MaxFoldersSize = 1024
	// MaxSenders and MaxSendersSize bound OnlyFrom and NotFrom together.
	MaxSenders     = 50
	MaxSendersSize = 2048
)

// Urgency is that of a push service (RFC 8030, section 5.3).
type Urgency string

// The urgencies of new mails.
const (
	// High wakes a sleeping phone. It is the default.
	High Urgency = "high"
	// Normal may wait until the phone is awake, and makes no sound.
	Normal Urgency = "normal"
)

// Preferences are of what a user wants a device to be notified, and how. Their
// zero value is all of it, as before there were preferences.
type Preferences struct {
	// Content is how much of a mail the device gets, if that is less than the
	// operator allows. Empty: as much as the operator allows.
	Content notification.Content `json:"content,omitempty"`
	// Urgency is that of new mails. Empty: [High].
	Urgency Urgency `json:"urgency,omitempty"`
	// Folders are the only folders that the device is notified of. Empty: all
	// that are reported. INBOX is found in any letter case.
	Folders []string `json:"folders,omitempty"`
	// OnlyFrom are the only senders that the device is notified of, and NotFrom
	// those that it is not notified of: addresses, or @ and a domain. Letter case
	// does not matter. NotFrom takes precedence.
	OnlyFrom []string `json:"onlyFrom,omitempty"`
	NotFrom  []string `json:"notFrom,omitempty"`
	// QuietHours are when the device is not notified, or nil.
	QuietHours *QuietHours `json:"quietHours,omitempty"`
	// MutedUntil is until when the device is not notified, or zero.
	MutedUntil Mute `json:"mutedUntil,omitzero"`
}

// IsZero reports whether the user has no preferences.
func (p Preferences) IsZero() bool {
	return p.Content == "" && p.Urgency == "" && len(p.Folders)+len(p.OnlyFrom)+len(p.NotFrom) == 0 &&
		p.QuietHours == nil && p.MutedUntil.IsZero()
}

// Names returns what the user prefers, in words that say nothing about anybody:
// content, urgency, folders, senders, quiet_hours and, while it lasts, muted.
func (p *Preferences) Names(now time.Time) (names []string) {
	for _, one := range []struct {
		name string
		set  bool
	}{
		{"content", p.Content != ""},
		{"urgency", p.Urgency != ""},
		{"folders", len(p.Folders) > 0},
		{"senders", len(p.OnlyFrom)+len(p.NotFrom) > 0},
		{Quiet, p.QuietHours != nil},
		{Muted, p.MutedUntil.mutes(now)},
	} {
		if one.set {
			names = append(names, one.name)
		}
	}
	return names
}

// Merge returns p with the members that the JSON object patch has. A member that
// is null gets its default, and so do all of them if patch is null. Unknown
// members are refused, because a user would believe that they have an effect.
// Errors: [*FieldError].
func (p Preferences) Merge(patch []byte) (Preferences, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(patch, &members); err != nil {
		return p, &FieldError{"preferences", "must be an object or null"}
	}
	if members == nil {
		return Preferences{}, nil
	}
	for name := range members { // others read the slices of p; and null changes no string
		switch name {
		case "content":
			p.Content = ""
		case "urgency":
			p.Urgency = ""
		case "folders":
			p.Folders = nil
		case "onlyFrom":
			p.OnlyFrom = nil
		case "notFrom":
			p.NotFrom = nil
		case "quietHours":
			p.QuietHours = nil
		case "mutedUntil":
			p.MutedUntil = Mute{}
		default:
			return p, &FieldError{"preferences", "has a member that does not exist; there are content, urgency, folders, onlyFrom, notFrom, quietHours and mutedUntil"}
		}
	}
	dec := json.NewDecoder(bytes.NewReader(patch))
	dec.DisallowUnknownFields() // those of quietHours
	if err := dec.Decode(&p); err != nil {
		if field, ok := errors.AsType[*FieldError](err); ok {
			return p, field
		}
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			return p, &FieldError{"preferences." + wrong.Field, "has the wrong type"}
		}
		return p, &FieldError{"preferences.quietHours", "has a member that does not exist; there are start, end, days and timeZone"}
	}
	p.OnlyFrom, p.NotFrom = lower(p.OnlyFrom), lower(p.NotFrom)
	return p, p.Check()
}

// lower returns the list in lower case, which may be in use elsewhere as it is.
func lower(list []string) []string {
	list = slices.Clone(list)
	for i := range list {
		list[i] = strings.ToLower(list[i])
	}
	return list
}

// Check validates p. Errors: [*FieldError].
func (p *Preferences) Check() error {
	switch {
	case p.Content != "" && !p.Content.Valid():
		return &FieldError{"preferences.content", "must be thin, sender or full"}
	case p.Urgency != "" && p.Urgency != High && p.Urgency != Normal:
		return &FieldError{"preferences.urgency", "must be high or normal"}
	case len(p.Folders) > MaxFolders || size(p.Folders) > MaxFoldersSize:
		return &FieldError{"preferences.folders", fmt.Sprintf("must be at most %d folders with %d bytes in total", MaxFolders, MaxFoldersSize)}
	case slices.ContainsFunc(p.Folders, invalidFolder):
		return &FieldError{"preferences.folders", "must be names of folders, without control or bidirectional formatting characters"}
	case len(p.OnlyFrom)+len(p.NotFrom) > MaxSenders || size(p.OnlyFrom)+size(p.NotFrom) > MaxSendersSize:
		return &FieldError{"preferences.onlyFrom", fmt.Sprintf("and notFrom must be at most %d addresses with %d bytes in total", MaxSenders, MaxSendersSize)}
	case slices.ContainsFunc(p.OnlyFrom, invalidSender):
		return &FieldError{"preferences.onlyFrom", mustBeAddresses}
	case slices.ContainsFunc(p.NotFrom, invalidSender):
		return &FieldError{"preferences.notFrom", mustBeAddresses}
	}
	if p.QuietHours != nil {
		return p.QuietHours.check()
	}
	return nil
}

const mustBeAddresses = "must be addresses such as alice@example.com, or @example.com for all of a domain"

func size(list []string) (n int) {
	for _, s := range list {
		n += len(s)
	}
	return n
}

func invalidFolder(name string) bool {
	return name == "" || !utf8.ValidString(name) || strings.ContainsFunc(name, printable.Unsafe)
}

func invalidSender(address string) bool {
	at := strings.LastIndexByte(address, '@')
	return at < 0 || at == len(address)-1 || !utf8.ValidString(address) || strings.ContainsAny(address, ` <>()[],;:\"`) ||
		strings.ContainsFunc(address, printable.Unsafe)
}

// Why a device is not notified.
const (
	// Muted and Quiet hold for all mails, until their time is over.
	Muted = "muted"
	Quiet = "quiet_hours"
	// OtherFolder and OtherSender are those that the user does not want.
	OtherFolder = "folder"
	OtherSender = "sender"
)

// Silenced returns why the device is not notified of an event at a time, or "".
// from returns the From of the mail, for people to read. It is called only if
// that matters.
//
// What happens to a mail later, such as that it is read elsewhere, has no sender:
// the device may have announced the mail.
func (p *Preferences) Silenced(event notification.Event, folder string, from func() string, now time.Time) string {
	switch {
	case len(p.Folders) > 0 && !slices.ContainsFunc(p.Folders, func(f string) bool { return sameFolder(f, folder) }):
		return OtherFolder
	case event == notification.MessageNew && len(p.OnlyFrom)+len(p.NotFrom) > 0 && !p.wantsSender(notification.Address(from())):
		return OtherSender
	default:
		return p.Silent(now)
	}
}

// Silent returns why the device is notified of nothing at a time, or "".
func (p *Preferences) Silent(now time.Time) string {
	switch {
	case p.MutedUntil.mutes(now):
		return Muted
	case p.QuietHours != nil && p.QuietHours.contain(now):
		return Quiet
	default:
		return ""
	}
}

// sameFolder knows that INBOX has any letter case (RFC 9051, section 5.1).
func sameFolder(a, b string) bool {
	return a == b || strings.EqualFold(a, "INBOX") && strings.EqualFold(b, "INBOX")
}

// wantsSender takes an address in lower case. One that is unknown is none of
// those that are listed.
func (p *Preferences) wantsSender(address string) bool {
	listed := func(s string) bool {
		return s == address || s[0] == '@' && strings.HasSuffix(address, s)
	}
	return !slices.ContainsFunc(p.NotFrom, listed) && (len(p.OnlyFrom) == 0 || slices.ContainsFunc(p.OnlyFrom, listed))
}
