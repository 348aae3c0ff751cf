// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webpush

import (
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/delivery"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// vendors are push services as they were met, and one that speaks as the RFCs
// do.
func vendors(t *testing.T) map[string]pushtest.Dialect {
	t.Helper()
	text, err := os.ReadFile("testdata/dialects.json")
	require.NoError(t, err)
	var seen []struct {
		Service, When string
		Status        json.RawMessage
		Body          json.RawMessage
	}
	require.NoError(t, json.Unmarshal(text, &seen))
	all := map[string]pushtest.Dialect{"RFC": {}}
	for _, s := range seen {
		if s.Service == "any" { // as the RFC has it
			continue
		}
		var a pushtest.Answer
		require.NoError(t, json.Unmarshal(s.Status, &a.Status))
		if json.Unmarshal(s.Body, &a.Body) != nil {
			a.Body = string(s.Body)
		}
		d := all[s.Service]
		switch {
		case strings.Contains(s.When, "VAPID key"):
			d.OtherKey = &a
		case strings.Contains(s.When, "3070 bytes"):
			d.MaxBody = 3070
		case strings.Contains(s.When, "contact"):
			d.Contact = &a
		default:
			require.Fail(t, "this case has no test", s.When)
		}
		all[s.Service] = d
	}
	require.Len(t, all, 4)
	return all
}

// Whatever the vendor, the same mail ends the same way for the person.
func TestVendors(t *testing.T) {
	for name, dialect := range vendors(t) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.service.Speak(dialect)
			w.devices.MailContent = notification.Full
			device, phone := w.device(t, "Phone")

			long := record(t, phone.ID, map[string]any{
				"subject": "Lunch", "from": strings.Repeat("b", 1000), "snippet": strings.Repeat("x", 1000), "folder": strings.Repeat("f", 1000),
			})
			require.Equal(t, delivery.Result{Outcome: delivery.Delivered}, w.Deliver(t.Context(), long))
			var mail notification.Mail
			require.NoError(t, json.Unmarshal(device.Wait(1)[0].Plain, &mail))
			assert.Equal(t, "Lunch", mail.Subject, "what people miss most")
			assert.Equal(t, dialect.MaxBody == 0, mail.Snippet != "", "a whole field")

			ill := subscriptionOf(t, device, newTestKey(t))
			other := newTestSender(t, w.service, w.devices.Sender.mustRing(t)[0], newTestKey(t))
			ill.ServerKey = other.mustRing(t)[1].Public()
			result := other.Send(t.Context(), ill, Message{Payload: []byte("hello")})
			assert.Equal(t, delivery.Misconfigured, result.Outcome, "so that the next key is tried")
			assert.Equal(t, delivery.FaultOfItem, result.Fault, "the others are not to blame")

			device.Unsubscribe()
			assert.Equal(t, delivery.Gone, w.Deliver(t.Context(), long).Outcome)
		})
	}
}

func (s *Sender) mustRing(t *testing.T) Ring {
	t.Helper()
	ring, err := s.keys(t.Context())
	require.NoError(t, err)
	return ring
}

// A contact that a large service refuses is a fault of all messages to it, and
// is not taken when the configuration is loaded.
func TestContactThatIsRefused(t *testing.T) {
	const local = "mailto:someone@localhost"
	for name, dialect := range vendors(t) {
		w := newWorld(t)
		w.service.Speak(dialect)
		device, _ := w.device(t, "Phone")
		w.devices.Sender.tokens = newTokens(local)
		result := w.devices.Sender.Send(t.Context(), subscriptionOf(t, device, w.key), Message{})
		if dialect.Contact == nil {
			assert.Equal(t, delivery.Delivered, result.Outcome, name)
			continue
		}
		assert.Equal(t, delivery.Misconfigured, result.Outcome)
		assert.Equal(t, delivery.FaultOfService, result.Fault)
		assert.ErrorContains(t, result.Err, "contact")
	}
	for contact, want := range map[string]string{
		"mailto:postmaster@example.com": "mailto:postmaster@example.com",
		"postmaster@example.com":        "mailto:postmaster@example.com",
		"postmaster@Example.COM":        "mailto:postmaster@Example.COM",
		"https://example.com/contact":   "https://example.com/contact",
		"https://example.com:8443/":     "https://example.com:8443/",
	} {
		got, err := ParseContact(contact)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, contact := range []string{
		"", "http://example.com", "https://", "tel:+1", "mailto:", "mailto:x", "a <a@example.com>", "mailto: a@example.com", strings.Repeat("x", 100),
		local, "root@localhost", "root@mail.localhost", "mailto:push@example.invalid", "root@mail", "root@mail.local", "root@mx.internal", "root@127.0.0.1", "root@[127.0.0.1]",
		"https://localhost", "https://localhost/x", "https://mail", "https://127.0.0.1/", "https://[::1]/", "https://push.invalid", "https://a:b@example.com/",
	} {
		_, err := ParseContact(contact)
		assert.ErrorContains(t, err, "contact", contact)
	}
}

// Each row of the table says what it is said to say, and is reached: none
// before it answers for it.
func TestDialects(t *testing.T) {
	for _, d := range dialects {
		t.Run(d.vendor+" "+http.StatusText(d.status), func(t *testing.T) {
			require.NotEmpty(t, d.source)
			_, err := time.Parse(time.DateOnly, d.seen)
			require.NoError(t, err)
			resp := &http.Response{StatusCode: d.status, Header: http.Header{"Retry-After": {"7"}}}
			r := resultOf(resp, []byte("{ "+d.reason+" }"), delivery.ResultOfStatus(d.status, resp.Header, time.Now()))
			require.ErrorContains(t, r.Err, meanings[d.meaning].says)
			assert.Equal(t, meanings[d.meaning].result.Outcome, r.Outcome)
			assert.Equal(t, meanings[d.meaning].result.Fault, r.Fault)
			assert.Regexp(t, `^status_\d+$`, r.Reason)
		})
	}
}
