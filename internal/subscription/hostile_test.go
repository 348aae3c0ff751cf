// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is merged into is read by others meanwhile.
func TestMergeWritesToNothingOfBefore(t *testing.T) {
	before := Preferences{Folders: []string{"INBOX"}, OnlyFrom: []string{"Alice@example.com"}, NotFrom: []string{"@Example.net"}}
	for _, patch := range []string{`{"urgency":"normal"}`, `{"onlyFrom":["Bob@example.com"],"notFrom":["Carol@example.com"],"folders":["Lists"]}`} {
		_, err := before.Merge([]byte(patch))
		require.NoError(t, err)
		assert.Equal(t, Preferences{Folders: []string{"INBOX"}, OnlyFrom: []string{"Alice@example.com"}, NotFrom: []string{"@Example.net"}}, before, patch)
	}
}

// A time zone has one name each: others would be kept one by one.
func TestTimeZonesHaveOneName(t *testing.T) {
	for _, name := range []string{"Europe//Berlin", "Europe/./Berlin", "./Europe/Berlin", "Europe/Berlin/", "/Europe/Berlin", "Europe/../Europe/Berlin", "Europe\\Berlin", "//UTC"} {
		assert.True(t, location(name) == nil, name)
	}
	for _, name := range []string{"UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+1", "America/Port-au-Prince"} {
		assert.True(t, location(name) != nil, name)
	}
}

// What is taken can be stored.
func TestMutedUntilTheEndOfTime(t *testing.T) {
	for _, at := range []string{"9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00"} {
		_, err := Preferences{}.Merge([]byte(`{"mutedUntil":"` + at + `"}`))
		var field *FieldError
		require.ErrorAs(t, err, &field, at)
		assert.Equal(t, "preferences.mutedUntil", field.Field)
	}
	for _, at := range []string{"9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"} {
		p, err := Preferences{}.Merge([]byte(`{"mutedUntil":"` + at + `"}`))
		require.NoError(t, err)
		_, err = json.Marshal(p)
		require.NoError(t, err, at)
	}
}
