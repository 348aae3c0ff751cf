// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	_ "time/tzdata" // a system without time zones must not change when phones ring
)

// maxTimeZone bounds the name of a time zone, in bytes.
const maxTimeZone = 64

// timeZone is what names of time zones are made of. They are paths of files, of which
// each has countless others, such as Europe//Berlin.
var timeZone = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$`)

// QuietHours are hours of the day in which a device is not notified. The members
// have the names and forms of JSCalendar (RFC 8984) where that has them.
type QuietHours struct {
	// Start and End are times of the day, as in 22:00 and 07:00. If End is not
	// after Start, it is that of the next day.
	Start TimeOfDay `json:"start"`
	End   TimeOfDay `json:"end"`
	// Days are the days on which they start: mo, tu, we, th, fr, sa, su. Empty:
	// every day.
	Days []Day `json:"days,omitempty"`
	// TimeZone is the name of the time zone in IANA's database, such as
	// Europe/Berlin.
	TimeZone string `json:"timeZone"`
}

// Day is a day of the week.
type Day string

// days are those of time.Weekday.
var days = []Day{"su", "mo", "tu", "we", "th", "fr", "sa"}

// TimeOfDay is hours and minutes, as in 22:00.
type TimeOfDay string

// minutes returns how many have passed since midnight. ok is false if it is no
// time of the day.
func (t TimeOfDay) minutes() (since int, ok bool) {
	if len(t) != len("22:00") || t[2] != ':' {
		return 0, false
	}
	for _, i := range []int{0, 1, 3, 4} {
		if t[i] < '0' || t[i] > '9' {
			return 0, false
		}
	}
	hour, minute := int(t[0]-'0')*10+int(t[1]-'0'), int(t[3]-'0')*10+int(t[4]-'0')
	return hour*60 + minute, hour < 24 && minute < 60
}

func (q *QuietHours) check() error {
	for name, at := range map[string]TimeOfDay{"start": q.Start, "end": q.End} {
		if _, ok := at.minutes(); !ok {
			return &FieldError{"preferences.quietHours." + name, "must be a time of the day such as 22:00"}
		}
	}
	for i, day := range q.Days {
		if !slices.Contains(days, day) || slices.Contains(q.Days[:i], day) {
			return &FieldError{"preferences.quietHours.days", "must be mo, tu, we, th, fr, sa or su, each once"}
		}
	}
	if location(q.TimeZone) == nil {
		return &FieldError{"preferences.quietHours.timeZone", "must be the name of a time zone such as Europe/Berlin"}
	}
	return nil
}

// contain reports whether now is one of them.
func (q *QuietHours) contain(now time.Time) bool {
	zone := location(q.TimeZone)
	start, ok := q.Start.minutes()
	end, okay := q.End.minutes()
	if zone == nil || !ok || !okay { // they were checked before they were stored
		return false
	}
	today := now.In(zone)
	for before := range 2 { // they may have started yesterday
		date := time.Date(today.Year(), today.Month(), today.Day()-before, 0, 0, 0, 0, time.UTC)
		if len(q.Days) > 0 && !slices.Contains(q.Days, days[date.Weekday()]) {
			continue
		}
		until := date
		if end <= start {
			until = date.AddDate(0, 0, 1)
		}
		if !now.Before(onClock(date, start, zone)) && now.Before(onClock(until, end, zone)) {
			return true
		}
	}
	return false
}

// onClock returns when the clocks of a zone show the minutes since midnight on a
// date, which is given in UTC. Where the clocks are changed, it is what RFC 5545,
// section 3.3.5, says: of a time that they show twice the first, and of one that
// they never show the one with the offset before.
func onClock(date time.Time, minutes int, zone *time.Location) time.Time {
	wall := date.Add(time.Duration(minutes) * time.Minute)
	with := func(offsetAt time.Time) time.Time {
		_, offset := offsetAt.In(zone).Zone()
		return wall.Add(-time.Duration(offset) * time.Second)
	}
	before, after := with(wall.AddDate(0, 0, -1)), with(wall.AddDate(0, 0, 1))
	if !sameClock(before.In(zone), wall) && sameClock(after.In(zone), wall) {
		return after
	}
	return before
}

func sameClock(a, b time.Time) bool { return a.Hour() == b.Hour() && a.Minute() == b.Minute() }

// locations are the time zones that were used, by name. There are some six
// hundred.
var locations sync.Map

// location returns a time zone, or nil if there is none of the name.
func location(name string) *time.Location {
	if known, ok := locations.Load(name); ok {
		return known.(*time.Location)
	}
	if name == "Local" || len(name) > maxTimeZone || !timeZone.MatchString(name) {
		return nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil
	}
	locations.Store(strings.Clone(name), zone)
	return zone
}
