// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/handlers/signin"
	"github.com/dovecotpush/caddy-dovecot-push/internal/action"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
	"github.com/dovecotpush/caddy-dovecot-push/internal/subscription"
)

// described holds what a site does against the description, and remembers what
// of it was seen.
type described struct {
	t   *testing.T
	doc *openapi3.T

	mu     sync.Mutex
	seen   map[string]bool
	routes map[*site]routers.Router
}

func newDescribed(t *testing.T) *described {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(Description)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	return &described{t: t, doc: doc, seen: make(map[string]bool), routes: make(map[*site]routers.Router)}
}

func (d *described) router(s *site) routers.Router {
	if d.routes[s] == nil {
		doc := *d.doc
		doc.Servers = openapi3.Servers{{URL: s.URL + "/push/api"}}
		router, err := gorillamux.NewRouter(&doc)
		require.NoError(d.t, err)
		d.routes[s] = router
	}
	return d.routes[s]
}

// call sends a request and wants the given status. Requests that succeed must
// be as described, and all answers.
func (d *described) call(s *site, want int, method, path string, what ...any) answer {
	d.t.Helper()
	r, a := s.do(d.t, method, "/api"+path, what...)
	assert.Equal(d.t, want, a.status, "%s %s: %s", method, path, a.body)
	d.check(s, r, a, what...)
	return a
}

func (d *described) check(s *site, r *http.Request, a answer, what ...any) {
	d.t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	route, params, err := d.router(s).FindRoute(r)
	if !assert.NoError(d.t, err, "%s %s is not described", r.Method, r.URL.Path) {
		return
	}
	d.seen[fmt.Sprint(route.Operation.OperationID, " ", a.status)] = true
	for _, w := range what {
		if body, ok := w.(string); ok {
			r.Body = io.NopCloser(strings.NewReader(body))
		}
	}
	input := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if a.status < 300 {
		assert.NoError(d.t, openapi3filter.ValidateRequest(d.t.Context(), input))
	}
	assert.NoError(d.t, openapi3filter.ValidateResponse(d.t.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: a.status, Header: a.header, Options: input.Options,
		Body: io.NopCloser(bytes.NewReader(a.body)),
	}), "%s %s: %s", r.Method, r.URL.Path, a.body)
}

// complete wants every answer of every operation to have been seen.
func (d *described) complete() {
	for path, item := range d.doc.Paths.Map() {
		for method, op := range item.Operations() {
			for status := range op.Responses.Map() {
				assert.True(d.t, d.seen[op.OperationID+" "+status], "%s %s never answered %s", method, path, status)
			}
		}
	}
}

// Everything that the description says happens, and nothing else does.
func TestDescription(t *testing.T) {
	openapi3filter.RegisterBodyDecoder("application/yaml", openapi3filter.FileBodyDecoder)
	openapi3filter.RegisterBodyDecoder("text/event-stream", openapi3filter.FileBodyDecoder)
	d := newDescribed(t)
	t.Run("session", func(*testing.T) { d.session(newSite(t, nil)) })
	t.Run("devices", func(*testing.T) { d.devices(newSite(t, nil)) })
	t.Run("too many devices", func(*testing.T) { d.tooManyDevices(newSite(t, nil)) })
	t.Run("actions", func(*testing.T) { d.actions(newSite(t, nil)) })
	t.Run("stream", func(*testing.T) { d.stream(newSite(t, nil)) })
	t.Run("refusals", func(*testing.T) { d.refusals(newSite(t, nil)) })
	t.Run("elsewhere", func(*testing.T) {
		d.elsewhere(newSite(t, func(_ *site, cfg *Config, auth *signin.Config) {
			cfg.Login, cfg.WebmailURL, cfg.MailURL, cfg.Kinds, cfg.ApplicationServerKey, cfg.Subscriptions, cfg.Actions = "caddy", "", "", nil, nil, nil, nil
			auth.External = func(*http.Request) string { return alice }
		}))
	})
	t.Run("stores away", func(*testing.T) {
		d.storesAway(newSite(t, func(_ *site, cfg *Config, _ *signin.Config) {
			cfg.ApplicationServerKey = func(context.Context) (string, error) { return "", errors.New("the storage is away") }
		}))
	})
	t.Run("unknown user", func(*testing.T) {
		s := newSite(t, func(_ *site, _ *Config, gate *signin.Config) {
			gate.Unknown = func(context.Context, string) bool { return true }
		})
		a := d.call(s, 200, "POST", "/session", `{"username":"Alice@example.com","password":"wonderland"}`)
		require.NotEmpty(d.t, a.member(d.t, "notice"))
	})
	d.complete()
}

func (d *described) session(s *site) {
	a := d.call(s, 200, "GET", "/config")
	require.JSONEq(d.t, `{"login":"imap","kinds":["webpush"],"applicationServerKey":"`+s.ring[0].Public()+`","webmailURL":"https://mail.example.com/","mailURL":"https://mail.example.com/#{folder}/{uid}"}`, string(a.body))
	a = d.call(s, 200, "GET", "/openapi.yaml")
	require.Equal(d.t, Description, a.body)
	d.call(s, 401, "GET", "/session")
	a = d.call(s, 200, "POST", "/session", `{"username":"Alice@example.com","password":"wonderland"}`)
	require.Equal(d.t, alice, a.member(d.t, "user"))
	d.call(s, 200, "GET", "/session", a.cookie)
	d.call(s, 200, "GET", "/session", login{alice, "wonderland"})
	d.call(s, 204, "DELETE", "/session", a.cookie)
	d.call(s, 401, "GET", "/session", a.cookie)
	d.call(s, 204, "DELETE", "/session")
	d.call(s, 400, "POST", "/session", `[]`)
	d.call(s, 415, "POST", "/session", header{"Content-Type", "text/plain"}, `{}`)
	d.call(s, 413, "POST", "/session", `{"username":"`+strings.Repeat("x", 1<<20)+`"}`)
	for range 10 {
		d.call(s, 401, "POST", "/session", `{"username":"bob@example.com","password":"x"}`)
	}
	d.call(s, 429, "POST", "/session", `{"username":"bob@example.com","password":"x"}`)
	d.call(s, 429, "GET", "/session", login{bob, "x"})
}

func (d *described) devices(s *site) {
	as := login{alice, "wonderland"}
	a := d.call(s, 200, "GET", "/subscriptions", as)
	require.JSONEq(d.t, `{"subscriptions":[],"defaults":{}}`, string(a.body))
	device := s.service.Subscribe(d.t, s.ring[0].Public())
	body := device.JSON(map[string]any{"name": "Phone", "deviceClientId": "abc"})
	a = d.call(s, 201, "POST", "/subscriptions", as, body)
	id := a.member(d.t, "id").(string)
	require.Equal(d.t, "subscriptions/"+id, a.header.Get("Location"))
	d.call(s, 409, "POST", "/subscriptions/"+id+"/test", as)
	var message struct{ VerificationCode string }
	require.NoError(d.t, json.Unmarshal(device.Wait(1)[0].Plain, &message))
	d.call(s, 400, "PATCH", "/subscriptions/"+id, as, `{"verificationCode":"wrong"}`)
	a = d.call(s, 200, "PATCH", "/subscriptions/"+id, as, `{"verificationCode":"`+message.VerificationCode+`","name":"My phone"}`)
	require.Equal(d.t, true, a.member(d.t, "confirmed"))
	a = d.call(s, 200, "PATCH", "/subscriptions/"+id, as, `{"preferences":{"content":"thin","urgency":"normal","folders":["INBOX"],"onlyFrom":["@example.com"],
		"notFrom":["bob@example.com"],"quietHours":{"start":"22:00","end":"07:00","days":["mo"],"timeZone":"Europe/Berlin"},"mutedUntil":"2026-11-24T12:00:00Z"}}`)
	require.Len(d.t, a.member(d.t, "preferences"), 7)
	d.call(s, 400, "PATCH", "/subscriptions/"+id, as, `{"preferences":{"content":"full"}}`)
	a = d.call(s, 200, "PATCH", "/subscriptions/"+id, as, `{"preferences":{"content":null,"urgency":null,"folders":null,"onlyFrom":null,"notFrom":null,"quietHours":null,"mutedUntil":"forever"}}`)
	require.Equal(d.t, map[string]any{"mutedUntil": "forever"}, a.member(d.t, "preferences"))
	a = d.call(s, 200, "PATCH", "/subscriptions/"+id, as, `{"preferences":null}`)
	require.Empty(d.t, a.member(d.t, "preferences"))
	require.Equal(d.t, "sender", a.member(d.t, "maxContent"))
	d.call(s, 200, "GET", "/subscriptions/"+id, as)
	d.call(s, 202, "POST", "/subscriptions/"+id+"/test", as)
	d.call(s, 200, "GET", "/subscriptions", as)
	d.call(s, 200, "POST", "/subscriptions", as, body)
	d.call(s, 400, "POST", "/subscriptions", as, `{"name":"x","endpoint":"https://127.0.0.1/","keys":{"p256dh":"","auth":""}}`)
	d.call(s, 413, "POST", "/subscriptions", as, `{"name":"`+strings.Repeat("x", 1<<20)+`"}`)
	d.call(s, 413, "PATCH", "/subscriptions/"+id, as, `{"name":"`+strings.Repeat("x", 1<<20)+`"}`)
	d.call(s, 415, "POST", "/subscriptions", as, header{"Content-Type", "application/x-www-form-urlencoded"}, "name=x")
	d.call(s, 415, "PATCH", "/subscriptions/"+id, as, header{"Content-Type", "text/plain"}, `{"name":"x"}`)

	// Nobody sees what another one has.
	for _, method := range []string{"GET", "DELETE"} {
		d.call(s, 404, method, "/subscriptions/"+id, login{bob, "builder"})
	}
	d.call(s, 404, "PATCH", "/subscriptions/"+id, login{bob, "builder"}, `{"name":"mine"}`)
	d.call(s, 404, "POST", "/subscriptions/"+id+"/test", login{bob, "builder"})

	s.service.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	moved := s.service.Subscribe(d.t, s.ring[0].Public()).JSON(map[string]any{"name": "x"})
	d.call(s, 502, "POST", "/subscriptions/"+id+"/test", as)
	d.call(s, 502, "PATCH", "/subscriptions/"+id, as, moved)
	d.call(s, 502, "POST", "/subscriptions", as, s.service.Subscribe(d.t, s.ring[0].Public()).JSON(map[string]any{"name": "y"}))
	s.service.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	d.call(s, 410, "POST", "/subscriptions", as, s.service.Subscribe(d.t, s.ring[0].Public()).JSON(map[string]any{"name": "z"}))
	s.service.Answer(nil)
	confirmed := d.confirmed(s, as)
	s.service.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	d.call(s, 410, "POST", "/subscriptions/"+confirmed+"/test", as)
	s.service.Answer(nil)
	confirmed = d.confirmed(s, as)
	s.service.Answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	d.call(s, 410, "PATCH", "/subscriptions/"+confirmed, as, s.service.Subscribe(d.t, s.ring[0].Public()).JSON(map[string]any{"name": "x"}))
	s.service.Answer(nil)
	d.call(s, 204, "DELETE", "/subscriptions/"+id, as)
	d.call(s, 404, "GET", "/subscriptions/"+id, as)
}

// confirmed adds a device that has given its code back.
func (d *described) confirmed(s *site, as login) (id string) {
	d.t.Helper()
	device := s.service.Subscribe(d.t, s.ring[0].Public())
	id = d.call(s, 201, "POST", "/subscriptions", as, device.JSON(map[string]any{"name": "Phone"})).member(d.t, "id").(string)
	var message struct{ VerificationCode string }
	require.NoError(d.t, json.Unmarshal(device.Wait(1)[0].Plain, &message))
	d.call(s, 200, "PATCH", "/subscriptions/"+id, as, `{"verificationCode":"`+message.VerificationCode+`"}`)
	return id
}

func (d *described) tooManyDevices(s *site) {
	as := login{bob, "builder"}
	id := d.confirmed(s, as)
	for i := 1; i < subscription.MaxPerUser; i++ {
		var address subscription.Address
		device := s.service.Subscribe(d.t, s.ring[0].Public())
		require.NoError(d.t, json.Unmarshal([]byte(device.JSON(nil)), &address))
		_, _, err := s.store.Add(d.t.Context(), bob, subscription.Device{Name: fmt.Sprint(i), Address: address})
		require.NoError(d.t, err)
	}
	one := s.service.Subscribe(d.t, s.ring[0].Public()).JSON(map[string]any{"name": "one more"})
	d.call(s, 409, "POST", "/subscriptions", as, one)
	for status := 0; status != 429; {
		r, a := s.do(d.t, "POST", "/api/subscriptions", as, one)
		d.check(s, r, a, one)
		status = a.status
		require.Contains(d.t, []int{409, 429}, status)
	}
	d.call(s, 429, "POST", "/subscriptions/"+id+"/test", as)
	d.call(s, 429, "PATCH", "/subscriptions/"+id, as, one)
}

func (d *described) actions(s *site) {
	id := d.confirmed(s, login{alice, "wonderland"})
	tickets := func() map[string]string {
		m := notification.Mail{Event: notification.MessageNew, Folder: "INBOX", UIDValidity: 1795452971, UID: uint32(s.dovecot.Deliver(alice, "INBOX"))}
		all := make(map[string]string)
		offered := s.actions.Offer(d.t.Context(), alice, &subscription.Subscription{ID: id}, &m)
		for _, o := range offered.Offer {
			ticket, err := json.Marshal(action.Ticket{
				User: alice, Device: id, Action: action.Action(o.Action), Folder: m.Folder, UIDValidity: m.UIDValidity, UID: m.UID, Expires: offered.Expires, Token: o.Token,
			})
			require.NoError(d.t, err)
			all[o.Action] = string(ticket)
		}
		return all
	}
	inbox := func() string {
		status, err := s.dovecot.Client(d.t).MailboxStatus(d.t.Context(), alice, "INBOX", "messages")
		require.NoError(d.t, err)
		return status["messages"]
	}
	undo := func(a answer) string {
		ticket, err := json.Marshal(a.member(d.t, "undo"))
		require.NoError(d.t, err)
		return string(ticket)
	}
	of := tickets()
	a := d.call(s, 200, "POST", "/actions", of["read"])
	a = d.call(s, 200, "POST", "/actions", undo(a))
	require.Equal(d.t, "null", undo(a))
	d.call(s, 422, "POST", "/actions", of["trash"])
	a = d.call(s, 200, "POST", "/actions", of["archive"])
	require.Equal(d.t, "0", inbox())
	d.call(s, 409, "POST", "/actions", of["archive"])
	d.call(s, 404, "POST", "/actions", of["trash"])
	d.call(s, 200, "POST", "/actions", undo(a))
	require.Equal(d.t, "1", inbox())

	for _, body := range []string{"", "[]", "{}", of["read"] + "{}", `{"token":"x","more":1}`} {
		d.call(s, 400, "POST", "/actions", body)
	}
	d.call(s, 415, "POST", "/actions", header{"Content-Type", "text/plain"}, of["read"])
	d.call(s, 413, "POST", "/actions", strings.Repeat(" ", 1<<15)+of["read"])
	d.call(s, 413, "POST", "/actions", strings.Repeat(" ", 1<<17)+of["read"])

	of = tickets()
	s.dovecot.Down()
	require.NotEmpty(d.t, d.call(s, 503, "POST", "/actions", of["read"]).header.Get("Retry-After"))
	require.NoError(d.t, s.dovecot.Up())
	d.call(s, 204, "DELETE", "/subscriptions/"+id, login{alice, "wonderland"})
	require.Eventually(d.t, func() bool { _, err := s.store.Find(alice, id); return err != nil }, time.Minute, time.Millisecond)
	d.call(s, 410, "POST", "/actions", of["archive"])
	// Tickets that are none are limited, and do not hinder others.
	for range 10 {
		d.call(s, 403, "POST", "/actions", strings.Replace(of["read"], "INBOX", "Trash", 1))
	}
	require.NotEmpty(d.t, d.call(s, 429, "POST", "/actions", strings.Replace(of["read"], "INBOX", "Trash", 1)).header.Get("Retry-After"))
	s.mu.Lock()
	s.from = netip.MustParseAddr("192.0.2.2")
	s.mu.Unlock()
	d.call(s, 410, "POST", "/actions", of["read"])
	for range 40 {
		if r, a := s.do(d.t, "POST", "/api/actions", of["read"]); a.status == 429 {
			d.check(s, r, a, of["read"])
			return
		}
	}
	assert.Fail(d.t, "a user can hand in any number of tickets")
}

func (d *described) stream(s *site) {
	r := s.request(d.t, "GET", "/api/events", login{alice, "wonderland"}, header{"Last-Event-ID", "old"})
	resp, err := s.Client().Do(r)
	require.NoError(d.t, err)
	defer resp.Body.Close()
	unseen := uint32(3)
	mail := notification.Notification{
		User: alice, Folder: "INBOX", UID: 7, UIDValidity: 1, Event: notification.MessageNew, From: "Bob", Subject: "Lunch?", Unseen: &unseen,
	}
	require.NoError(d.t, s.log.Offer(d.t.Context(), alice, notification.Identity{1}, func() (string, []byte) {
		b, err := json.Marshal(mail.Mail(notification.Sender, notification.Identity{1}, time.Now(), notification.CatchUp))
		require.NoError(d.t, err)
		return "mail", b
	}))
	schemas := map[string]string{"reset": "Reset", "mail": "Mail"}
	var body bytes.Buffer
	event := ""
	for lines := bufio.NewScanner(io.TeeReader(resp.Body, &body)); lines.Scan(); {
		field, value, _ := strings.Cut(lines.Text(), ": ")
		switch field {
		case "event":
			event = value
		case "data":
			var data any
			require.NoError(d.t, json.Unmarshal([]byte(value), &data))
			assert.NoError(d.t, d.doc.Components.Schemas[schemas[event]].Value.VisitJSON(data), value)
			delete(schemas, event)
			if event == "mail" {
				s.streams.Stop()
			}
		}
	}
	require.Empty(d.t, schemas, "events that did not come")
	d.check(s, r, answer{status: resp.StatusCode, header: resp.Header, body: body.Bytes()})

	whole := s.request(d.t, "GET", "/api/events?last-event-id=0", login{alice, "wonderland"})
	resp, err = s.Client().Do(whole)
	require.NoError(d.t, err)
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body) // it ends at once, as streams were stopped
	require.NoError(d.t, err)
	_, rest, ok := strings.Cut(string(content), "event: current\ndata: ")
	require.True(d.t, ok, string(content))
	var current any
	require.NoError(d.t, json.NewDecoder(strings.NewReader(rest)).Decode(&current))
	assert.NoError(d.t, d.doc.Components.Schemas["Current"].Value.VisitJSON(current))

	d.call(s, 401, "GET", "/events")
	for range 10 {
		d.call(s, 401, "GET", "/events", login{bob, "x"})
	}
	d.call(s, 429, "GET", "/events", login{bob, "x"})
}

// refusals are those that every operation has.
func (d *described) refusals(s *site) {
	otherSite := header{"Sec-Fetch-Site", "cross-site"}
	cookie := s.signIn(d.t, alice)
	for _, op := range d.operations() {
		if op.method != http.MethodGet {
			d.call(s, 403, op.method, op.path, otherSite, cookie)
			d.call(s, 403, op.method, op.path, header{"Origin", "https://evil.example"}, cookie)
		}
		if op.Security == nil { // not public
			d.call(s, 401, op.method, op.path)
			d.call(s, 401, op.method, op.path, &http.Cookie{Name: cookie.Name, Value: cookie.Value + "x"})
		}
	}
	for range 10 {
		d.call(s, 401, "GET", "/session", login{bob, "x"})
	}
	var all sync.WaitGroup // who is refused has to wait
	for _, op := range d.operations() {
		if op.Security == nil {
			all.Go(func() { d.call(s, 429, op.method, op.path, login{bob, "x"}) })
		}
	}
	all.Wait()
}

// elsewhere is a site where something else signs people in, without Web Push.
func (d *described) elsewhere(s *site) {
	a := d.call(s, 200, "GET", "/config")
	require.JSONEq(d.t, `{"login":"caddy","kinds":[],"applicationServerKey":null,"webmailURL":null,"mailURL":null}`, string(a.body))
	d.call(s, 405, "POST", "/session", `{"username":"a","password":"b"}`)
	a = d.call(s, 200, "GET", "/session")
	require.JSONEq(d.t, `{"user":"alice@example.com","expires":null}`, string(a.body))
	d.call(s, 404, "POST", "/actions", `{}`)
	d.call(s, 404, "GET", "/subscriptions")
	d.call(s, 404, "POST", "/subscriptions", `{"name":"x","endpoint":"https://push.example/","keys":{"p256dh":"x","auth":"x"}}`)
}

func (d *described) storesAway(s *site) {
	cookie := s.signIn(d.t, alice)
	s.breakStores()
	d.call(s, 503, "GET", "/config")
	d.call(s, 503, "POST", "/session", `{"username":"alice@example.com","password":"wonderland"}`)
	for _, op := range d.operations() {
		if op.Security == nil || op.OperationID == "signOut" {
			a := d.call(s, 503, op.method, op.path, cookie)
			require.NotEmpty(d.t, a.header.Get("Retry-After"), op.OperationID)
		}
	}
}

// operation is one of the description.
type operation struct {
	*openapi3.Operation
	method, path string
}

func (d *described) operations() []operation {
	var all []operation
	for path, item := range d.doc.Paths.Map() {
		for method, op := range item.Operations() {
			all = append(all, operation{op, method, strings.ReplaceAll(path, "{id}", "some-id")})
		}
	}
	return all
}

// Every route of the handler is in the description.
func TestEveryRouteIsDescribed(t *testing.T) {
	s := newSite(t, nil)
	d := newDescribed(t)
	for _, path := range []string{
		"", "/", "/config", "/session", "/events", "/openapi.yaml", "/subscriptions", "/subscriptions/x", "/subscriptions/x/test",
		"/actions", "/actions/", "/config/", "/session/x", "/subscriptions/", "/subscriptions//x", "/subscriptions/x/test/y", "/subscriptions/../config", "/nothing",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if path == "/events" && method == "GET" {
				continue
			}
			r, a := s.do(t, method, "/api"+path, login{alice, "wonderland"})
			_, _, err := d.router(s).FindRoute(r)
			if err != nil {
				assert.Contains(t, []int{404, 405}, a.status, "%s %s is not described", method, path)
				assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"), "%s %s", method, path)
			}
			if a.status == 405 {
				assert.NotContains(t, a.header.Get("Allow"), method)
				assert.NotEmpty(t, a.header.Get("Allow"))
			}
			assert.Less(t, a.status, 500)
			assert.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
			assert.Contains(t, a.header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
		}
	}
}
