// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

// all has every member.
func allPreferences() Preferences {
	return Preferences{
		Content: notification.Thin, Urgency: Normal, Folders: []string{"INBOX", "Lists/ä"},
		OnlyFrom: []string{"@example.com"}, NotFrom: []string{"noreply@example.com"},
		QuietHours: &QuietHours{Start: "22:00", End: "07:00", Days: []Day{"mo", "fr"}, TimeZone: "Europe/Berlin"},
		MutedUntil: MuteUntil(time.Date(2026, 11, 29, 17, 0, 0, 0, time.UTC)),
	}
}

// The file is what is stored of preferences. Entries without them, as earlier
// versions wrote them, are those of TestStoredSubscriptions and TestStoredBefore.
func TestStoredPreferences(t *testing.T) {
	muted := Preferences{MutedUntil: Forever}
	at := time.Date(2026, 11, 29, 16, 0, 0, 0, time.UTC)
	keys := Keys{P256DH: Base64{}, Auth: Base64{}}
	want := []Subscription{
		{ID: "5f0c", Name: "Phone", Endpoint: "https://push.example.com/1", Keys: keys, Created: at, Expires: at, Preferences: allPreferences()},
		{ID: "60aa", Name: "Tablet", Endpoint: "https://push.example.com/2", Keys: keys, Created: at, Expires: at, Preferences: muted},
	}
	stored, err := os.ReadFile("testdata/preferences-1")
	require.NoError(t, err)
	_, got, err := decode(queue.Entry{Key: queue.Key{"alice@example.com"}, Value: stored})
	require.NoError(t, err)
	assert.Equal(t, want, got)
	now, err := encode(want)
	require.NoError(t, err)
	assert.Equal(t, strings.TrimSpace(string(stored)), string(now))
	for i := range got {
		require.NoError(t, got[i].Preferences.Check())
	}
}

func TestMergeOfPreferences(t *testing.T) {
	before := allPreferences()
	for patch, want := range map[string]func(*Preferences){
		`{}`:                         func(*Preferences) {},
		`null`:                       func(p *Preferences) { *p = Preferences{} },
		`{"content":null}`:           func(p *Preferences) { p.Content = "" },
		`{"urgency":null}`:           func(p *Preferences) { p.Urgency = "" },
		`{"urgency":"high"}`:         func(p *Preferences) { p.Urgency = High },
		`{"folders":null}`:           func(p *Preferences) { p.Folders = nil },
		`{"folders":["Work"]}`:       func(p *Preferences) { p.Folders = []string{"Work"} },
		`{"onlyFrom":null}`:          func(p *Preferences) { p.OnlyFrom = nil },
		`{"notFrom":["Bob@X.Test"]}`: func(p *Preferences) { p.NotFrom = []string{"bob@x.test"} },
		`{"quietHours":null}`:        func(p *Preferences) { p.QuietHours = nil },
		`{"quietHours":{"start":"00:00","end":"00:00","timeZone":"UTC"}}`: func(p *Preferences) {
			p.QuietHours = &QuietHours{Start: "00:00", End: "00:00", TimeZone: "UTC"}
		},
		`{"mutedUntil":null}`:      func(p *Preferences) { p.MutedUntil = Mute{} },
		`{"mutedUntil":"forever"}`: func(p *Preferences) { p.MutedUntil = Forever },
		`{"mutedUntil":"2026-11-29T18:30:00+01:00","urgency":"high"}`: func(p *Preferences) {
			p.MutedUntil, p.Urgency = MuteUntil(time.Date(2026, 11, 29, 17, 30, 0, 0, time.UTC)), High
		},
	} {
		expected := allPreferences()
		want(&expected)
		got, err := before.Merge([]byte(patch))
		require.NoError(t, err, patch)
		assert.Equal(t, expected, got, patch)
		assert.Equal(t, allPreferences(), before, "what others read is not written to")
	}
}

func TestInvalidPreferences(t *testing.T) {
	quiet := func(member, value string) string {
		all := map[string]any{"start": "22:00", "end": "07:00", "timeZone": "Europe/Berlin"}
		all[member] = json.RawMessage(value)
		text, _ := json.Marshal(map[string]any{"quietHours": all})
		return string(text)
	}
	list := func(n int, one string) string {
		all := make([]string, n)
		for i := range all {
			all[i] = one
		}
		text, _ := json.Marshal(all)
		return string(text)
	}
	for patch, field := range map[string]string{
		`[]`:                                "preferences",
		`"forever"`:                         "preferences",
		`{"sound":true}`:                    "preferences",
		`{"Content":"thin"}`:                "preferences",
		`{"content":"all"}`:                 "preferences.content",
		`{"content":1}`:                     "preferences.content",
		`{"urgency":"very-high"}`:           "preferences.urgency",
		`{"folders":"INBOX"}`:               "preferences.folders",
		`{"folders":[""]}`:                  "preferences.folders",
		`{"folders":["a\u202eb"]}`:          "preferences.folders",
		`{"folders":` + list(21, "a") + `}`: "preferences.folders",
		`{"folders":["` + strings.Repeat("a", 1025) + `"]}`: "preferences.folders",
		`{"onlyFrom":["example.com"]}`:                      "preferences.onlyFrom",
		`{"onlyFrom":["@"]}`:                                "preferences.onlyFrom",
		`{"onlyFrom":[""]}`:                                 "preferences.onlyFrom",
		`{"onlyFrom":["Bob <b@example.com>"]}`:              "preferences.onlyFrom",
		`{"notFrom":["a@b,c@d"]}`:                           "preferences.notFrom",
		`{"notFrom":["a@b\u0000"]}`:                         "preferences.notFrom",
		`{"onlyFrom":` + list(25, "@a.test") + `,"notFrom":` + list(26, "@a.test") + `}`: "preferences.onlyFrom",
		`{"notFrom":["@` + strings.Repeat("a", 2048) + `"]}`:                             "preferences.onlyFrom",
		`{"quietHours":{}}`:                     "preferences.quietHours",
		quiet("start", `"24:00"`):               "preferences.quietHours.start",
		quiet("start", `"7:00"`):                "preferences.quietHours.start",
		quiet("start", `null`):                  "preferences.quietHours.start",
		quiet("end", `"22:60"`):                 "preferences.quietHours.end",
		quiet("end", `"+1:00"`):                 "preferences.quietHours.end",
		quiet("days", `["monday"]`):             "preferences.quietHours.days",
		quiet("days", `["mo","mo"]`):            "preferences.quietHours.days",
		quiet("timeZone", `"Europe/Atlantis"`):  "preferences.quietHours.timeZone",
		quiet("timeZone", `""`):                 "preferences.quietHours.timeZone",
		quiet("timeZone", `"Local"`):            "preferences.quietHours.timeZone",
		quiet("timeZone", `"../../etc/passwd"`): "preferences.quietHours.timeZone",
		quiet("color", `1`):                     "preferences.quietHours",
		`{"mutedUntil":"tomorrow"}`:             "preferences.mutedUntil",
		`{"mutedUntil":""}`:                     "preferences.mutedUntil",
		`{"mutedUntil":5}`:                      "preferences.mutedUntil",
	} {
		_, err := Preferences{}.Merge([]byte(patch))
		var wrong *FieldError
		require.ErrorAs(t, err, &wrong, patch)
		assert.Contains(t, wrong.Field, field, patch)
		assert.LessOrEqual(t, len(wrong.Field), len(field)+len(".start"), patch)
	}
}

func TestSilencedByFolderAndSender(t *testing.T) {
	now := time.Now()
	for _, c := range []struct {
		p            Preferences
		event        notification.Event
		folder, from string
		want         string
	}{
		{Preferences{}, notification.MessageNew, "Lists", "", ""},
		{Preferences{Folders: []string{"inbox", "Work"}}, notification.MessageNew, "INBOX", "", ""},
		{Preferences{Folders: []string{"inbox", "Work"}}, notification.MessageNew, "Work", "", ""},
		{Preferences{Folders: []string{"inbox", "Work"}}, notification.MessageNew, "work", "", OtherFolder},
		{Preferences{Folders: []string{"INBOX"}}, notification.MessageRead, "Lists", "", OtherFolder},
		{Preferences{OnlyFrom: []string{"bob@example.net"}}, notification.MessageNew, "INBOX", "Bob <Bob@Example.net>", ""},
		{Preferences{OnlyFrom: []string{"bob@example.net"}}, notification.MessageNew, "INBOX", "bob@example.net", ""},
		{Preferences{OnlyFrom: []string{"bob@example.net"}}, notification.MessageNew, "INBOX", "<bob@example.net> <eve@evil.test>", OtherSender},
		{Preferences{OnlyFrom: []string{"bob@example.net"}}, notification.MessageNew, "INBOX", "bob@example.net <eve@evil.test>", OtherSender},
		{Preferences{OnlyFrom: []string{"bob@example.net"}}, notification.MessageNew, "INBOX", "notbob@example.net", OtherSender},
		{Preferences{OnlyFrom: []string{"@example.net"}}, notification.MessageNew, "INBOX", "bob@example.net", ""},
		{Preferences{OnlyFrom: []string{"@example.net"}}, notification.MessageNew, "INBOX", "bob@sub.example.net", OtherSender},
		{Preferences{OnlyFrom: []string{"@example.net"}}, notification.MessageNew, "INBOX", "bob@badexample.net", OtherSender},
		{Preferences{OnlyFrom: []string{"@example.net"}}, notification.MessageNew, "INBOX", "", OtherSender},
		{Preferences{OnlyFrom: []string{"@example.net"}}, notification.MessageRead, "INBOX", "", ""},
		{Preferences{NotFrom: []string{"@example.net"}}, notification.MessageNew, "INBOX", "", ""},
		{Preferences{NotFrom: []string{"@example.net"}}, notification.MessageNew, "INBOX", "B <b@EXAMPLE.NET>", OtherSender},
		{Preferences{OnlyFrom: []string{"@example.net"}, NotFrom: []string{"no@example.net"}}, notification.MessageNew, "INBOX", "no@example.net", OtherSender},
		{Preferences{MutedUntil: Forever}, notification.MessageNew, "INBOX", "", Muted},
		{Preferences{MutedUntil: MuteUntil(now.Add(time.Hour))}, notification.MessageRead, "INBOX", "", Muted},
		{Preferences{MutedUntil: MuteUntil(now.Add(-time.Hour))}, notification.MessageNew, "INBOX", "", ""},
	} {
		assert.Equal(t, c.want, c.p.Silenced(c.event, c.folder, func() string { return c.from }, now), "%+v", c)
	}
}

func TestNamesOfPreferences(t *testing.T) {
	p := allPreferences()
	assert.Equal(t, []string{"content", "urgency", "folders", "senders", "quiet_hours"}, p.Names(time.Now().AddDate(10, 0, 0)))
	p = Preferences{MutedUntil: Forever}
	assert.Equal(t, []string{"muted"}, p.Names(time.Now()))
	assert.Empty(t, new(Preferences).Names(time.Now()))
}

// A mute ends at its time.
func TestMute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Preferences{MutedUntil: MuteUntil(time.Now().Add(time.Hour))}
		assert.Equal(t, Muted, p.Silent(time.Now()))
		time.Sleep(time.Hour - time.Second)
		assert.Equal(t, Muted, p.Silent(time.Now()))
		time.Sleep(time.Second)
		assert.Empty(t, p.Silent(time.Now()))
	})
}

// silentTimes are when quiet hours start and end, between two times, as a clock
// there shows it.
func silentTimes(q QuietHours, from time.Time, lasts time.Duration) (changes []string) {
	p, zone := Preferences{QuietHours: &q}, location(q.TimeZone)
	was := ""
	for at := from; at.Before(from.Add(lasts)); at = at.Add(time.Minute) {
		if is := p.Silent(at); is != was {
			changes = append(changes, fmt.Sprintf("%s %v", at.In(zone).Format("Mon 15:04 MST"), is != ""))
			was = is
		}
	}
	return changes
}

func TestQuietHours(t *testing.T) {
	const day = 24 * time.Hour
	monday := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	weekend := []Day{"sa", "su"}
	for name, c := range map[string]struct {
		q     QuietHours
		from  time.Time
		lasts time.Duration
		want  []string
	}{
		"at night": {
			QuietHours{Start: "22:00", End: "07:00", TimeZone: "Europe/Berlin"},
			monday, 2 * day,
			[]string{"Mon 22:00 CET true", "Tue 07:00 CET false", "Tue 22:00 CET true", "Wed 07:00 CET false"},
		},
		"at noon": {
			QuietHours{Start: "12:00", End: "13:30", TimeZone: "America/New_York"},
			monday, day,
			[]string{"Mon 12:00 EST true", "Mon 13:30 EST false"},
		},
		"in the nights after workdays": {
			QuietHours{Start: "22:00", End: "07:00", Days: []Day{"mo", "tu"}, TimeZone: "Asia/Tokyo"},
			monday.Add(-2 * day), 7 * day,
			[]string{"Mon 22:00 JST true", "Tue 07:00 JST false", "Tue 22:00 JST true", "Wed 07:00 JST false"},
		},
		"whole days": {
			QuietHours{Start: "00:00", End: "00:00", Days: weekend, TimeZone: "Europe/Berlin"},
			monday, 7 * day,
			[]string{"Sat 00:00 CET true", "Mon 00:00 CET false"},
		},
		"until the same time": {
			QuietHours{Start: "20:00", End: "20:00", Days: []Day{"sa"}, TimeZone: "Asia/Kathmandu"},
			monday, 7 * day,
			[]string{"Sat 20:00 +0545 true", "Sun 20:00 +0545 false"},
		},
		"clocks go forward within": {
			QuietHours{Start: "22:00", End: "07:00", TimeZone: "Europe/Berlin"},
			time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC), day,
			[]string{"Sat 22:00 CET true", "Sun 07:00 CEST false"},
		},
		"clocks go back within": {
			QuietHours{Start: "22:00", End: "07:00", TimeZone: "Europe/Berlin"},
			time.Date(2026, 10, 24, 12, 0, 0, 0, time.UTC), day,
			[]string{"Sat 22:00 CEST true", "Sun 07:00 CET false"},
		},
		"an end that no clock shows": {
			QuietHours{Start: "22:00", End: "02:30", TimeZone: "Europe/Berlin"},
			time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC), day,
			[]string{"Sat 22:00 CET true", "Sun 03:30 CEST false"},
		},
		"a start that no clock shows": {
			QuietHours{Start: "02:30", End: "05:00", TimeZone: "Europe/Berlin"},
			time.Date(2026, 3, 28, 12, 0, 0, 0, time.UTC), day,
			[]string{"Sun 03:30 CEST true", "Sun 05:00 CEST false"},
		},
		"an end that clocks show twice": {
			QuietHours{Start: "22:00", End: "02:30", TimeZone: "Europe/Berlin"},
			time.Date(2026, 10, 24, 12, 0, 0, 0, time.UTC), day,
			[]string{"Sat 22:00 CEST true", "Sun 02:30 CEST false"},
		},
		"a start that clocks show twice": {
			QuietHours{Start: "02:30", End: "05:00", TimeZone: "Europe/Berlin"},
			time.Date(2026, 10, 24, 12, 0, 0, 0, time.UTC), day,
			[]string{"Sun 02:30 CEST true", "Sun 05:00 CET false"},
		},
		"clocks that change by half an hour": {
			QuietHours{Start: "22:00", End: "07:00", TimeZone: "Australia/Lord_Howe"},
			time.Date(2026, 4, 4, 3, 0, 0, 0, time.UTC), day,
			[]string{"Sat 22:00 +11 true", "Sun 07:00 +1030 false"},
		},
		"midnight that no clock shows": {
			QuietHours{Start: "22:00", End: "00:00", TimeZone: "Africa/Cairo"},
			time.Date(2026, 4, 23, 12, 0, 0, 0, time.UTC), day,
			[]string{"Thu 22:00 EET true", "Fri 01:00 EEST false"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, c.q.check())
			assert.Equal(t, c.want, silentTimes(c.q, c.from, c.lasts))
		})
	}
}

// A new device has the defaults. One that is known keeps what it has, wherever it
// moves.
func TestPreferencesOfDevices(t *testing.T) {
	eachTable(t, func(t *testing.T, table Table) {
		s := New(Config{Table: table, Logger: slog.New(slog.DiscardHandler), Defaults: Preferences{Urgency: Normal}})
		s.Start()
		t.Cleanup(s.Stop)
		require.NoError(t, s.Wait(t.Context()))
		d := newDevice(t, "Phone")
		phone := confirmed(t, s, "alice", d)
		assert.Equal(t, Preferences{Urgency: Normal}, phone.Preferences)
		muted, err := s.Prefer(t.Context(), "alice", phone.ID, func(p Preferences) (Preferences, error) { return p.Merge([]byte(`{"mutedUntil":"forever"}`)) })
		require.NoError(t, err)
		want := Preferences{Urgency: Normal, MutedUntil: Forever}
		assert.Equal(t, want, muted.Preferences)
		assert.True(t, muted.Confirmed())
		_, err = s.Prefer(t.Context(), "alice", phone.ID, func(p Preferences) (Preferences, error) { return p.Merge([]byte(`{"mutedUntil":"x"}`)) })
		require.Error(t, err)
		_, err = s.Prefer(t.Context(), "bob", phone.ID, func(p Preferences) (Preferences, error) { return p, nil })
		require.ErrorIs(t, err, ErrNotFound)
		_, _, err = s.Add(t.Context(), "alice", d)
		require.NoError(t, err)
		_, err = s.Renew(t.Context(), "alice", phone.ID, newDevice(t, "").Address)
		require.NoError(t, err)
		got, err := s.Find("alice", phone.ID)
		require.NoError(t, err)
		assert.Equal(t, want, got.Preferences)

		other := newDevice(t, "Laptop")
		other.Prefer = func(p Preferences) (Preferences, error) { return p.Merge([]byte(`{"urgency":null,"content":"thin"}`)) }
		laptop, created, err := s.Add(t.Context(), "alice", other)
		require.NoError(t, err)
		require.True(t, created)
		assert.Equal(t, Preferences{Content: notification.Thin}, laptop.Preferences)
	})
}
