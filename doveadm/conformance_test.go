// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
)

func TestMetadata(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		c, ctx := clientOf(t, start, settings{}), t.Context()
		value, err := c.MetadataGet(ctx, alice, key)
		require.NoError(t, err)
		require.Empty(t, value)
		keys, err := c.MetadataList(ctx, alice, "/private/")
		require.NoError(t, err)
		require.Empty(t, keys)

		for _, want := range []string{"user=" + alice, "user=7@1\tmark=\"ä\\\"\n", ""} {
			require.NoError(t, c.MetadataSet(ctx, alice, key, want))
			value, err = c.MetadataGet(ctx, "Alice@Example.COM", strings.Replace(key, "vendor", "VENDOR", 2))
			require.NoError(t, err)
			require.Equal(t, want, value)
		}
		require.NoError(t, c.MetadataSet(ctx, alice, "/private/vendor/example/Other", "x"))
		keys, err = c.MetadataList(ctx, alice, "/private/vendor/")
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{key, "/private/vendor/example/other"}, keys)
		keys, err = c.MetadataList(ctx, alice, "/private/vendor/ex")
		require.NoError(t, err)
		assert.Equal(t, []string{"/private/vendor/example/other"}, keys)

		for range 2 {
			require.NoError(t, c.MetadataUnset(ctx, alice, key))
		}
		keys, err = c.MetadataList(ctx, alice, "/private/")
		require.NoError(t, err)
		assert.Equal(t, []string{"/private/vendor/example/other"}, keys)
	})
}

func TestMasks(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		c, ctx := clientOf(t, start, settings{}), t.Context()
		require.NoError(t, c.MetadataSet(ctx, alice, key, "user="+alice))
		require.NoError(t, c.MetadataSet(ctx, carol, key, "user="+carol))

		for mask, want := range map[string]map[string]string{
			"*":             {alice: "user=" + alice, bob: "", carol: "user=" + carol},
			"?ob@example.*": {bob: ""},
			"nobody*":       {},
			carol:           {carol: "user=" + carol},
		} {
			got, err := c.MetadataGetMask(ctx, mask, key)
			require.NoError(t, err, mask)
			assert.Equal(t, want, got, mask)
		}
		for mask, want := range map[string][]string{
			"*": {alice, bob, carol}, "*o*@*": {bob, carol}, "b*": {bob}, "nobody*": {}, alice: {alice},
		} {
			got, err := c.Users(ctx, mask)
			require.NoError(t, err, mask)
			assert.Equal(t, want, got, mask)
		}
		_, err := c.Users(ctx, "nobody@example.com")
		require.ErrorIs(t, err, doveadm.ErrUnknownUser)
		_, err = c.MetadataGetMask(ctx, "nobody@example.com", key)
		require.ErrorIs(t, err, doveadm.ErrUnknownUser)

		require.NoError(t, c.MetadataUnsetMask(ctx, "*", key))
		got, err := c.MetadataGetMask(ctx, "*", key)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{alice: "", bob: "", carol: ""}, got)
	})
}

// Why the calls with a mask name the entry in another way than the others.
func TestMasksAndServerEntries(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		c, ctx := clientOf(t, start, settings{}), t.Context()
		raw := func(command string, parameters map[string]any) string {
			parameters["user"] = "*"
			got, err := c.Raw(ctx, command, parameters)
			require.NoError(t, err)
			return string(got)
		}
		server := map[string]any{"mailbox": "", "allowEmptyMailboxName": true, "key": key, "value": "same"}
		raw("mailboxMetadataSet", server)
		got, err := c.MetadataGetMask(ctx, "*", key)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{alice: "same", bob: "", carol: ""}, got)

		inbox := map[string]any{"mailbox": "INBOX", "key": "/private/vendor/vendor.dovecot/pvt/server" + key[len("/private"):], "value": "same"}
		raw("mailboxMetadataSet", inbox)
		value, err := c.MetadataGet(ctx, carol, key)
		require.NoError(t, err)
		assert.Equal(t, "same", value)
		delete(server, "value")
		assert.JSONEq(t, `[{"username":"alice@example.com","value":"same"},{"username":"bob@example.com","value":""},`+
			`{"username":"carol@example.com","value":""}]`, raw("mailboxMetadataGet", server))
	})
}

func TestMailboxStatus(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		c, ctx := clientOf(t, start, settings{}), t.Context()
		got, err := c.MailboxStatus(ctx, alice, "inbox")
		require.NoError(t, err)
		assert.NotEmpty(t, got["uidvalidity"])
		delete(got, "uidvalidity")
		assert.Equal(t, map[string]string{"messages": "0", "unseen": "0", "uidnext": "1"}, got)
		got, err = c.MailboxStatus(ctx, alice, "INBOX", "guid")
		require.NoError(t, err)
		assert.Len(t, got, 1)
		assert.Len(t, got["guid"], 32)

		_, err = c.MailboxStatus(ctx, alice, "Nowhere", "guid")
		require.ErrorIs(t, err, doveadm.ErrNotFound)
		_, err = c.MailboxStatus(ctx, alice, "INBOX", "weight")
		require.ErrorIs(t, err, doveadm.ErrNoAnswer)
		_, err = c.MailboxStatus(ctx, alice, "*", "guid")
		require.ErrorIs(t, err, doveadm.ErrUsage)
	})
}

func TestRaw(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		c, ctx := clientOf(t, start, settings{}), t.Context()
		for _, name := range []string{"mailboxStatus", "mailbox status"} {
			got, err := c.Raw(ctx, name, map[string]any{"user": alice, "mailboxMask": "INBOX", "field": []string{"messages"}})
			require.NoError(t, err)
			assert.JSONEq(t, `[{"mailbox":"INBOX","messages":"0"}]`, string(got))
		}
		got, err := c.Raw(ctx, "user", map[string]any{"userMask": []string{alice}})
		require.NoError(t, err)
		var byLogin map[string]map[string]string
		require.NoError(t, json.Unmarshal(got, &byLogin))
		assert.NotEmpty(t, byLogin[alice]["home"])
	})
}

// Every error that Dovecot has for a command, with what to do about it. After
// all of them the endpoint is in service.
func TestErrorsOfCommands(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		c := clientOf(t, start, settings{})
		raw := func(name string, parameters map[string]any) error {
			_, err := c.Raw(t.Context(), name, parameters)
			return err
		}
		entry := func(change map[string]any) map[string]any {
			parameters := map[string]any{"user": alice, "mailbox": "", "allowEmptyMailboxName": true, "key": key}
			for name, value := range change {
				if parameters[name] = value; value == nil {
					delete(parameters, name)
				}
			}
			return parameters
		}
		for _, test := range []struct {
			name   string
			err    error
			want   error
			advice string
		}{
			{"unknown user", c.MetadataSet(t.Context(), "nobody@example.com", key, "x"), doveadm.ErrUnknownUser, "exit code 67: no such user: see what `doveadm user` says"},
			{"unknown mailbox", raw("mailboxMetadataGet", entry(map[string]any{"mailbox": "Nowhere"})), doveadm.ErrNotFound, "exit code 68: no such mailbox: see what `doveadm mailbox list` says"},
			{"usage", raw("mailboxMetadataGet", entry(map[string]any{"allowEmptyMailboxName": nil})), doveadm.ErrUsage, "exit code 64: "},
			{"unknown command", raw("mailboxMetadataForget", nil), doveadm.ErrUnknownCommand, "unknown command: "},
			{"unknown parameter", raw("user", map[string]any{"unknown": "x"}), doveadm.ErrInvalidRequest, "invalid request: "},
			{"impossible text", c.MetadataSet(t.Context(), alice, key, "\x00"), doveadm.ErrInvalidRequest, "status 400"},
			{"missing parameter", raw("mailboxMetadataGet", entry(map[string]any{"key": nil})), doveadm.ErrNoAnswer, "a mandatory parameter is missing"},
			{"missing user", raw("mailboxMetadataGet", entry(map[string]any{"user": nil})), doveadm.ErrNoAnswer, "a mandatory parameter is missing"},
			{"impossible key", raw("mailboxMetadataGet", entry(map[string]any{"key": "/nowhere"})), doveadm.ErrNoAnswer, "a mandatory parameter is missing"},
		} {
			t.Run(test.name, func(t *testing.T) {
				require.ErrorIs(t, test.err, test.want)
				assert.ErrorContains(t, test.err, test.advice)
				var failed *doveadm.Error
				require.ErrorAs(t, test.err, &failed)
				assert.NotEmpty(t, failed.Command)
				assert.Equal(t, c.Endpoints()[0].Address, failed.Endpoint)
				assert.NotContains(t, test.err.Error(), "example.com")
			})
		}
		assert.True(t, c.Endpoints()[0].InService)
	})
}

// What Dovecot would take amiss or for something else is not even sent.
func TestParametersThatAreNotSent(t *testing.T) {
	c := newClient(t, doveadm.Config{Endpoints: []string{"http://127.0.0.1:1"}, APISecret: "x"})
	ctx := t.Context()
	get := func(user, key string) error {
		_, err := c.MetadataGet(ctx, user, key)
		return err
	}
	list := func(user, prefix string) error {
		_, err := c.MetadataList(ctx, user, prefix)
		return err
	}
	users := func(mask string) error {
		_, err := c.Users(ctx, mask)
		return err
	}
	raw := func(parameters map[string]any) error {
		_, err := c.Raw(ctx, "user", parameters)
		return err
	}
	for name, err := range map[string]error{
		"no user":        get("", key),
		"wildcard":       c.MetadataSet(ctx, "al?ce@example.com", key, "x"),
		"unset wildcard": c.MetadataUnset(ctx, "*", key),
		"no key":         get(alice, ""),
		"relative key":   c.MetadataUnset(ctx, alice, "private/x"),
		"prefix":         list(alice, ""),
		"no mask":        users(""),
		"no mask, unset": c.MetadataUnsetMask(ctx, "", key),
		"not JSON":       raw(map[string]any{"x": func() {}}),
	} {
		require.ErrorIs(t, err, doveadm.ErrUsage, name)
	}
	assert.True(t, c.Endpoints()[0].InService)
}

// A login has one name, however it is written.
func TestUser(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		c, ctx := clientOf(t, start, settings{}), t.Context()
		for _, login := range []string{alice, strings.ToUpper(alice), "Alice@Example.com"} {
			name, err := c.User(ctx, login)
			require.NoError(t, err)
			assert.Equal(t, alice, name)
		}
		_, err := c.User(ctx, "nobody@example.com")
		require.ErrorIs(t, err, doveadm.ErrUnknownUser)
		for _, login := range []string{"", "*", "al?ce@example.com"} {
			_, err = c.User(ctx, login)
			require.ErrorIs(t, err, doveadm.ErrUsage, login)
		}
	})
}

func TestNoAttributeDict(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		c, ctx := clientOf(t, start, settings{noAttributeDict: true}), t.Context()
		_, err := c.MetadataGet(ctx, alice, key)
		for _, err := range []error{err, c.MetadataSet(ctx, alice, key, "x"), c.MetadataUnset(ctx, alice, key)} {
			require.ErrorIs(t, err, doveadm.ErrNoMetadata)
			require.ErrorContains(t, err, "mail_attribute_dict")
		}
		_, err = c.MetadataGetMask(ctx, "*", key)
		require.ErrorIs(t, err, doveadm.ErrNoMetadata)
		_, err = c.MetadataGet(ctx, "nobody@example.com", key)
		require.ErrorIs(t, err, doveadm.ErrUnknownUser)
		keys, err := c.MetadataList(ctx, alice, "/private/")
		require.NoError(t, err)
		assert.Empty(t, keys)
	})
}

func TestNoIteration(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		c, ctx := clientOf(t, start, settings{noIteration: true}), t.Context()
		_, err := c.Users(ctx, "*")
		require.ErrorIs(t, err, doveadm.ErrNoIteration)
		_, err = c.MetadataGetMask(ctx, "*", key)
		require.ErrorIs(t, err, doveadm.ErrTemporary)
		require.NoError(t, c.MetadataSet(ctx, alice, key, "x"))
		got, err := c.MetadataGetMask(ctx, alice, key)
		require.NoError(t, err)
		assert.Equal(t, map[string]string{alice: "x"}, got)
	})
}

func TestAllowedCommands(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		c, ctx := clientOf(t, start, settings{allowed: "mailbox metadata get"}), t.Context()
		_, err := c.MetadataGet(ctx, alice, key)
		require.NoError(t, err)
		err = c.MetadataSet(ctx, alice, key, "x")
		require.ErrorIs(t, err, doveadm.ErrNotAllowed)
		require.ErrorContains(t, err, "doveadm_allowed_commands")
		assert.True(t, c.Endpoints()[0].InService)
	})
}

func TestSecrets(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		url, secret := start(t, settings{})
		for name, cfg := range map[string]doveadm.Config{
			"API secret": {APISecret: secret},
			"Basic":      {Username: "doveadm", Password: password},
			"password":   {Password: password},
		} {
			cfg.Endpoints = []string{url}
			_, err := newClient(t, cfg).Users(t.Context(), "*")
			require.NoError(t, err, name)
		}
		for name, cfg := range map[string]doveadm.Config{
			"API secret":                 {APISecret: "wr0ng-secret"},
			"password":                   {Password: "wr0ng-secret"},
			"user":                       {Username: "wr0ng-secret", Password: password},
			"the API secret as password": {Password: secret},
		} {
			cfg.Endpoints = []string{url}
			c := newClient(t, cfg)
			for range 2 { // the endpoint is out of service the second time
				_, err := c.Users(t.Context(), "*")
				require.ErrorIs(t, err, doveadm.ErrBadSecret, name)
				require.ErrorIs(t, err, doveadm.ErrUnavailable, name)
				require.ErrorContains(t, err, "doveadm_api_key")
				assert.NotContains(t, err.Error(), "wr0ng-secret")
			}
		}
	})
}

func TestWrongPath(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		url, secret := start(t, settings{})
		c := newClient(t, doveadm.Config{Endpoints: []string{url + "/"}, APISecret: secret})
		_, err := c.Users(t.Context(), "*")
		require.ErrorIs(t, err, doveadm.ErrNotServed)
		require.ErrorContains(t, err, "404")
		assert.False(t, c.Endpoints()[0].InService)

		c = newClient(t, doveadm.Config{Endpoints: []string{strings.TrimSuffix(url, "/doveadm/v1")}, APISecret: secret})
		_, err = c.Users(t.Context(), "*")
		require.NoError(t, err, "the path is added")
	})
}

func TestContext(t *testing.T) {
	eachBackend(t, func(t *testing.T, start backend) {
		c := clientOf(t, start, settings{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := c.Users(ctx, "*")
		require.ErrorIs(t, err, context.Canceled)
		assert.True(t, c.Endpoints()[0].InService)
	})
}
