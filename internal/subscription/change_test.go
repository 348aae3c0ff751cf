// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package subscription

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLifeOfADevice(t *testing.T) { eachTable(t, testLifeOfADevice) }

func testLifeOfADevice(t *testing.T, table Table) {
	var told []change
	s := startStore(t, table, &told)
	phone, _, err := s.Add(t.Context(), "alice", newDevice(t, "Phone"))
	require.NoError(t, err)
	assert.False(t, phone.Confirmed())
	assert.False(t, phone.Wanted())
	assert.NotEmpty(t, phone.ID)
	assert.GreaterOrEqual(t, len(phone.VerificationCode), 26)
	assert.WithinDuration(t, time.Now().Add(UnconfirmedLifetime), phone.Expires, time.Minute)
	assert.Empty(t, told, "it may never be confirmed")

	for _, code := range []string{"", "wrong", phone.VerificationCode + "x", strings.ToLower(phone.VerificationCode)} {
		_, err = s.Confirm(t.Context(), "alice", phone.ID, code)
		require.ErrorIs(t, err, ErrWrongCode)
	}
	_, err = s.Confirm(t.Context(), "bob", phone.ID, phone.VerificationCode)
	require.ErrorIs(t, err, ErrNotFound, "it is not Bob's")
	confirmed, err := s.Confirm(t.Context(), "alice", phone.ID, phone.VerificationCode)
	require.NoError(t, err)
	assert.True(t, confirmed.Confirmed())
	assert.WithinDuration(t, time.Now().Add(Lifetime), confirmed.Expires, time.Minute)
	again, err := s.Confirm(t.Context(), "alice", phone.ID, phone.VerificationCode)
	require.NoError(t, err, "a device that confirms twice")
	assert.Equal(t, confirmed, again)
	assert.Equal(t, []change{{"alice", true}}, told)

	for _, err := range []error{
		errOf(s.Rename(t.Context(), "bob", phone.ID, "Mine")),
		errOf(s.Renew(t.Context(), "bob", phone.ID, newDevice(t, "").Address)),
		errOf(s.UseServerKey(t.Context(), "bob", phone.ID, "other")),
		s.Remove(t.Context(), "bob", phone.ID),
		s.Remove(t.Context(), "alice", "another"),
	} {
		assert.ErrorIs(t, err, ErrNotFound)
	}
	renamed, err := s.Rename(t.Context(), "alice", phone.ID, "Téléphone 📱")
	require.NoError(t, err)
	assert.Equal(t, "Téléphone 📱", renamed.Name)
	other, err := s.UseServerKey(t.Context(), "alice", phone.ID, "second key")
	require.NoError(t, err)
	assert.Equal(t, "second key", other.ServerKey)

	laptop, _, err := s.Add(t.Context(), "alice", newDevice(t, "Laptop"))
	require.NoError(t, err)
	require.NoError(t, s.Remove(t.Context(), "alice", phone.ID))
	assert.Equal(t, []change{{"alice", true}, {"alice", false}}, told, "one that is not confirmed gets no mail")
	require.NoError(t, s.Remove(t.Context(), "alice", laptop.ID))
	assert.Len(t, told, 2)
	require.ErrorIs(t, s.Remove(t.Context(), "alice", laptop.ID), ErrNotFound)
	_, _, err = s.Add(t.Context(), "alice", newDevice(t, "Phone"))
	assert.NoError(t, err, "after the end of all")
}

func errOf(_ Subscription, err error) error { return err }

// A browser tells of its subscription whenever its page is opened.
func TestKnownDevice(t *testing.T) { eachTable(t, testKnownDevice) }

func testKnownDevice(t *testing.T, table Table) {
	s := startStore(t, table, nil)
	device := newDevice(t, "Phone")
	device.DeviceClientID = "installation 1"
	phone := confirmed(t, s, "alice", device)

	device.Name = "My phone"
	same, _, err := s.Add(t.Context(), "alice", device)
	require.NoError(t, err)
	assert.Equal(t, phone.ID, same.ID)
	assert.True(t, same.Confirmed())
	assert.Equal(t, "My phone", same.Name)

	device.Keys = newKeys(t)
	rekeyed, _, err := s.Add(t.Context(), "alice", device)
	require.NoError(t, err)
	assert.Equal(t, phone.ID, rekeyed.ID)
	assert.False(t, rekeyed.Confirmed(), "other keys")
	again, _, err := s.Add(t.Context(), "alice", device)
	require.NoError(t, err)
	assert.NotEqual(t, rekeyed.VerificationCode, again.VerificationCode, "a code is sent once")

	device.Endpoint += "/moved"
	moved, _, err := s.Add(t.Context(), "alice", device)
	require.NoError(t, err)
	assert.Equal(t, phone.ID, moved.ID, "known by its deviceClientId")
	assert.False(t, moved.Confirmed())
	assert.Equal(t, device.Endpoint, moved.Endpoint)
	assert.Len(t, names(t, s, "alice"), 1)

	// What has another's ID and a third one's endpoint leaves one.
	other := newDevice(t, "Laptop")
	confirmed(t, s, "alice", other)
	device.Endpoint = other.Endpoint
	_, _, err = s.Add(t.Context(), "alice", device)
	require.NoError(t, err)
	assert.Len(t, names(t, s, "alice"), 1)
}

func TestRenew(t *testing.T) { eachTable(t, testRenew) }

func testRenew(t *testing.T, table Table) {
	var told []change
	s := startStore(t, table, &told)
	phone := confirmed(t, s, "alice", newDevice(t, "Phone"))
	to := newDevice(t, "").Address
	to.ServerKey, to.PushServiceExpiry = "second key", now().Add(24*time.Hour)
	renewed, err := s.Renew(t.Context(), "alice", phone.ID, to)
	require.NoError(t, err)
	assert.Equal(t, phone.ID, renewed.ID)
	assert.Equal(t, "Phone", renewed.Name)
	is := Address{
		Endpoint: renewed.Endpoint, Keys: renewed.Keys, ServerKey: renewed.ServerKey, PushServiceExpiry: renewed.PushServiceExpiry,
	}
	assert.Equal(t, to, is)
	assert.False(t, renewed.Confirmed())
	assert.True(t, renewed.Wanted(), "mail waits for it")
	assert.ErrorIs(t, s.RemoveGone(t.Context(), "alice", &phone), ErrNotFound, "it has moved")
	done, err := s.Confirm(t.Context(), "alice", phone.ID, renewed.VerificationCode)
	require.NoError(t, err)
	assert.Equal(t, to.PushServiceExpiry, done.Expires, "the push service ends it earlier")
	assert.Equal(t, []change{{"alice", true}}, told)
	require.NoError(t, s.RemoveGone(t.Context(), "alice", &Subscription{ID: phone.ID, Endpoint: to.Endpoint}))
	assert.Equal(t, []change{{"alice", true}, {"alice", false}}, told)
}

// An endpoint belongs to the user who confirmed it last: a browser that several
// people use must not show one of them the mails of another.
func TestEndpointOfAnother(t *testing.T) { eachTable(t, testEndpointOfAnother) }

func testEndpointOfAnother(t *testing.T, table Table) {
	var told []change
	s := startStore(t, table, &told)
	browser := newDevice(t, "Browser")
	confirmed(t, s, "alice", browser)
	confirmed(t, s, "alice", newDevice(t, "Phone"))
	added, _, err := s.Add(t.Context(), "bob", browser)
	require.NoError(t, err)
	assert.Equal(t, []string{"Browser", "Phone"}, names(t, s, "alice"), "Bob has proved nothing yet")
	_, err = s.Confirm(t.Context(), "bob", added.ID, added.VerificationCode)
	require.NoError(t, err)
	assert.Equal(t, []string{"Browser"}, names(t, s, "bob"))
	assert.Equal(t, []string{"Phone"}, names(t, s, "alice"))
	assert.Equal(t, []change{{"alice", true}, {"bob", true}}, told)
}

func TestWhatADeviceCannotSay(t *testing.T) { eachTable(t, testWhatADeviceCannotSay) }

func testWhatADeviceCannotSay(t *testing.T, table Table) {
	s := startStore(t, table, nil)
	for _, test := range []struct {
		field  string
		change func(*Device)
	}{
		{"name", func(d *Device) { d.Name = "" }},
		{"name", func(d *Device) { d.Name = " \u00a0" }},
		{"name", func(d *Device) { d.Name = strings.Repeat("ä", MaxName+1) }},
		{"name", func(d *Device) { d.Name = "a\nb" }},
		{"name", func(d *Device) { d.Name = "a\u009bb" }},
		{"name", func(d *Device) { d.Name = "a\u202eb" }},
		{"name", func(d *Device) { d.Name = "a\u2066b" }},
		{"name", func(d *Device) { d.Name = "a\u2028b" }},
		{"name", func(d *Device) { d.Name = "a\U000e0041b" }},
		{"name", func(d *Device) { d.Name = "a\xff" }},
		{"deviceClientId", func(d *Device) { d.DeviceClientID = strings.Repeat("a", MaxDeviceClientID+1) }},
		{"deviceClientId", func(d *Device) { d.DeviceClientID = "\x00" }},
		{"endpoint", func(d *Device) { d.Endpoint = "" }},
		{"endpoint", func(d *Device) { d.Endpoint = "https://a.example/" + strings.Repeat("a", MaxEndpoint) }},
		{"keys.p256dh", func(d *Device) { d.Keys.P256DH = nil }},
		{"keys.p256dh", func(d *Device) { d.Keys.P256DH = make([]byte, 65) }},
		{"keys.auth", func(d *Device) { d.Keys.Auth = nil }},
		{"keys.auth", func(d *Device) { d.Keys.Auth = make([]byte, authSize+1) }},
	} {
		d := newDevice(t, "Phone")
		test.change(&d)
		_, _, err := s.Add(t.Context(), "alice", d)
		var field *FieldError
		if assert.ErrorAs(t, err, &field, test.field) {
			assert.Equal(t, test.field, field.Field)
		}
	}
	d := newDevice(t, strings.Repeat("ä", MaxName))
	phone, _, err := s.Add(t.Context(), "alice", d)
	require.NoError(t, err)
	_, err = s.Rename(t.Context(), "alice", phone.ID, "")
	assert.Error(t, err)
	_, err = s.Renew(t.Context(), "alice", phone.ID, Address{Endpoint: d.Endpoint})
	assert.Error(t, err)
	found, err := s.Find("alice", phone.ID)
	require.NoError(t, err)
	assert.Equal(t, phone, found, "as it was")
}

// Base64 as browsers, as Java, and as careless people write it.
func TestKeysInJSON(t *testing.T) {
	want := Keys{P256DH: []byte{0xfb, 0xff, 0xfe, 1}, Auth: []byte{0xff}}
	for _, text := range []string{
		`{"p256dh":"-__-AQ","auth":"_w"}`, `{"p256dh":"-__-AQ==","auth":"_w=="}`, `{"p256dh":"+//+AQ==","auth":"/w"}`,
	} {
		var got Keys
		require.NoError(t, json.Unmarshal([]byte(text), &got), text)
		assert.Equal(t, want, got)
	}
	out, err := json.Marshal(want)
	require.NoError(t, err)
	assert.JSONEq(t, `{"p256dh":"-__-AQ","auth":"_w"}`, string(out))
	for _, text := range []string{`{"auth":"_"}`, `{"auth":"a b"}`, `{"auth":"ä"}`, `{"auth":1}`} {
		assert.Error(t, json.Unmarshal([]byte(text), new(Keys)), text)
	}
}
