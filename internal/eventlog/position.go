// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package eventlog

import (
	"strconv"
	"strings"
	"time"
)

// A position numbers the events of one log: the number of the entry in the
// store, and the place in it.
//
// Clients get an ID that also names the log and when it was issued. It is valid
// for the time of the history only, because events for a user without a lease
// are not stored.
const (
	placeBits = 10
	maxPlace  = 1<<placeBits - 1
	base      = 36
)

func position(seq uint64, place int) uint64 { return seq<<placeBits | uint64(place) }

func encodeID(made time.Time, position uint64, issued time.Time) string {
	b := make([]byte, 0, 32)
	b = strconv.AppendInt(b, made.UnixMicro(), base)
	b = append(b, '-')
	b = strconv.AppendUint(b, position, base)
	b = append(b, '-')
	b = strconv.AppendInt(b, issued.Unix(), base)
	return string(b)
}

// decodeID returns the position that id has in the log made at the given time.
// ok is false if id is of another log, or was never issued.
func decodeID(id string, made time.Time) (position uint64, issued time.Time, ok bool) {
	parts := strings.Split(id, "-")
	if len(id) > 64 || len(parts) != 3 {
		return 0, time.Time{}, false
	}
	micros, err1 := strconv.ParseInt(parts[0], base, 64)
	position, err2 := strconv.ParseUint(parts[1], base, 64)
	seconds, err3 := strconv.ParseInt(parts[2], base, 64)
	if err1 != nil || err2 != nil || err3 != nil || micros != made.UnixMicro() {
		return 0, time.Time{}, false
	}
	return position, time.Unix(seconds, 0), true
}
