// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package notification

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestContent(t *testing.T) {
	unseen := uint32(3)
	n := Notification{
		User: "alice@example.com", Folder: "INBOX", UIDValidity: 1, UID: 7, Event: MessageNew,
		From: "Bob <bob@example.net>", Subject: "Hello", Snippet: "How are you?", Unseen: &unseen,
	}
	accepted := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.FixedZone("", 3600))
	for c, want := range map[Content]string{
		Thin:             ``,
		Sender:           `"from":"Bob <bob@example.net>","subject":"Hello",`,
		Full:             `"from":"Bob <bob@example.net>","subject":"Hello","snippet":"How are you?",`,
		Content("other"): ``,
	} {
		out, err := json.Marshal(n.Mail(c, Identity{0xab}, accepted, Reported))
		require.NoError(t, err)
		assert.JSONEq(t, `{"@type":"Mail","id":"ab000000000000000000000000000000","folder":"INBOX","uid":7,"uidValidity":1,
			"event":"messageNew","unseen":3,`+want+`"time":"2026-01-02T02:04:05Z"}`, string(out), c)
		assert.Equal(t, c != "other", c.Valid())
	}
	assert.Equal(t, "How are you?", n.Snippet, "n itself stays as it is")
	assert.Equal(t, CatchUp, n.Mail(Thin, Identity{}, accepted, CatchUp).Source)
}
