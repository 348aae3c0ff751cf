// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

// odd is what somebody may give in place of a name, an address, a code or a text.
var odd = map[string]string{
	"nothing":              "",
	"a space":              " ",
	"3,000 bytes":          strings.Repeat("y", 3000),
	"512 bytes":            strings.Repeat("y", 512),
	"NUL":                  "a\x00b",
	"CR LF":                "a\r\nX-Injected: b",
	"a tab":                "a\tuser=" + healthy,
	"C1":                   "a\u009b31mb",
	"DEL":                  "a\x7fb",
	"bidi":                 "a\u202egpj.exe\u2066",
	"a line separator":     "a\u2028b",
	"tags":                 "a\U000e0041\U000e007f",
	"no character":         "a\uffffb",
	"invalid UTF-8":        "a\xff\xfeb",
	"a surrogate in UTF-8": "a\xed\xa0\x80b",
	"*":                    "*", "?": "user?", "a wildcard": "a*b", ">": ">", "NATS": "a.>.*", ".": ".", "..": "..",
	"a path":        "../../../../etc/passwd",
	"an option":     "-A",
	"quotes":        `a"b'c\d`,
	"a member":      `","user":"` + healthy,
	"a master user": healthy + "*boss",
	"a format":      "%s%n{{.}}{env.NOTIFY_PASSWORD}%{user}",
	"a percent":     "%2e%zz",
	"a literal":     "{10000000}",
	"case":          strings.ToUpper(healthy),
	"ſ":             "ſomebody@example.com",
}

// quoted is a JSON string with the bytes of s as they are, where JSON can.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"', c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ':
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// bodies are what takes the place of a JSON object; %s is one, without braces,
// that is right.
var bodies = map[string]string{
	"nothing": "", "no JSON": "%%!", "null": "null", "a number": "1", "a string": `"x"`, "a list": "[{%s}]", "an empty one": "{}",
	"half of it": "{%s", "twice": "{%s}{%s}", "members twice": "{%s,%s}", "followed": "{%s} x", "a comment": "{/* */%s}", "a comma": "{%s,}",
	"a byte order mark": "\ufeff{%s}", "UTF-16": "\xff\xfe{\x00}\x00", "deep": `{"x":` + strings.Repeat("[", 10_000), "deep and whole": `{%s,"x":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`,
	"a large number": `{%s,"imap-uid":1e400,"expirationTime":1e400}`, "a long number": `{%s,"imap-uid":` + strings.Repeat("9", 5000) + `}`, "a negative one": `{%s,"imap-uid":-1,"expirationTime":-1e300}`,
	"half a surrogate": `{%s,"user":"\ud800","username":"\ud800","name":"\ud800"}`, "NaN": `{%s,"imap-uid":NaN,"expirationTime":NaN}`,
	"other cases": `{%s,"USER":"x","UserName":"x","NAME":"x"}`, "an empty member": `{%s,"":"x"}`, "many members": `{%s` + strings.Repeat(`,"x":1`, 5000) + `}`,
	"wrong types": `{"user":[],"username":{},"password":1,"name":[],"endpoint":{},"keys":"x","imap-uid":{},"folder":1,"event":[]}`, "nulls": `{"user":null,"username":null,"password":null,"name":null,"endpoint":null,"keys":null,"imap-uid":null}`,
}

// poisoner is somebody who gives odd things, and has a device. There is one for
// each of them, so that what is limited for one does not keep the next from
// getting anywhere.
type poisoner struct {
	in     *installation
	user   string
	client *http.Client
	cookie func(*http.Request)
	device string // its identity
}

func (p *poisoner) notify(user, folder, event, text string) answer {
	return p.in.notify(p.client, fmt.Sprintf(`{"user":%s,"folder":%s,"event":%s,"imap-uidvalidity":9,"imap-uid":%d,"from":%s,"subject":%s,"snippet":%s}`,
		quoted(user), quoted(folder), quoted(event), p.in.uids.next(), quoted(text), quoted(text), quoted(text)))
}

func (p *poisoner) api(method, path, body string) answer {
	return p.in.api(p.client, method, path, body, p.cookie)
}

// subscription is the body that adds a device, with one member changed.
func (p *poisoner) subscription(member, value string) string {
	device, err := p.in.push.NewDevice(p.in.serverKey)
	if err != nil {
		panic(err)
	}
	members := map[string]string{
		"endpoint": quoted(device.Endpoint), "name": `"Phone"`, "deviceClientId": `"x"`, "expirationTime": "null", "p256dh": quoted(device.P256DH), "auth": quoted(device.Auth),
	}
	members[member] = value
	return fmt.Sprintf(`{"endpoint":%s,"name":%s,"deviceClientId":%s,"expirationTime":%s,"keys":{"p256dh":%s,"auth":%s}}`,
		members["endpoint"], members["name"], members["deviceClientId"], members["expirationTime"], members["p256dh"], members["auth"])
}

// raw sends a request with header fields that no library sends.
func (p *poisoner) raw(path, fields string) answer {
	conn, err := net.DialTimeout("tcp", p.in.address, patience)
	if err != nil {
		return answer{}
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n", path, p.in.address, fields)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return answer{}
	}
	_ = conn.Close() // else Close would read an event stream to its end
	_ = resp.Body.Close()
	return answer{status: resp.StatusCode}
}

// stream opens an event stream and leaves it.
func (p *poisoner) stream(query, fields string) answer {
	session := &http.Request{Header: make(http.Header)}
	p.cookie(session)
	return p.raw("/push/api/events"+query, "Cookie: "+session.Header.Get("Cookie")+"\r\n"+fields)
}

// doors are where somebody can give what is odd.
var doors = map[string]func(p *poisoner, name string) answer{
	"notify: user":   func(p *poisoner, name string) answer { return p.notify(name, "INBOX", "messageNew", "x") },
	"notify: folder": func(p *poisoner, name string) answer { return p.notify(p.user, name, "messageNew", "x") },
	"notify: event":  func(p *poisoner, name string) answer { return p.notify(p.user, "INBOX", name, "x") },
	"notify: texts":  func(p *poisoner, name string) answer { return p.notify(p.user, "INBOX", "messageNew", name) },
	"dead letter":    func(p *poisoner, name string) answer { return p.notify("refused"+name, name, "messageNew", name) },
	"notify: Basic": func(p *poisoner, name string) answer {
		return do(p.client, http.MethodPut, p.in.url+notifyPath, "{}", basic(name, name))
	},
	"sign-in: name": func(p *poisoner, name string) answer {
		return p.api(http.MethodPost, "session", `{"username":`+quoted(name)+`,"password":"x"}`)
	},
	"sign-in: secret": func(p *poisoner, name string) answer {
		return p.api(http.MethodPost, "session", `{"username":`+quoted(p.user)+`,"password":`+quoted(name)+`}`)
	},
	"sign-in: Basic": func(p *poisoner, name string) answer {
		return p.in.api(p.client, http.MethodGet, "session", "", basic(name, name))
	},
	"cookie": func(p *poisoner, name string) answer {
		return p.raw("/push/api/session", "Cookie: __Host-dovecot-push-00000000="+strings.NewReplacer("\r\n", "", "\x00", "").Replace(name)+"\r\n")
	},
	"device: name": func(p *poisoner, name string) answer {
		return p.api(http.MethodPost, "subscriptions", p.subscription("name", quoted(name)))
	},
	"device: client": func(p *poisoner, name string) answer {
		return p.api(http.MethodPost, "subscriptions", p.subscription("deviceClientId", quoted(name)))
	},
	"device: endpoint": func(p *poisoner, name string) answer {
		return p.api(http.MethodPost, "subscriptions", p.subscription("endpoint", quoted(name)))
	},
	"device: path": func(p *poisoner, name string) answer {
		return p.api(http.MethodPost, "subscriptions", p.subscription("endpoint", quoted(p.in.push.Origin+"/"+name)))
	},
	"device: host": func(p *poisoner, name string) answer {
		return p.api(http.MethodPost, "subscriptions", p.subscription("endpoint", quoted("https://"+name+"/x")))
	},
	"device: p256dh": func(p *poisoner, name string) answer {
		return p.api(http.MethodPost, "subscriptions", p.subscription("p256dh", quoted(name)))
	},
	"device: auth": func(p *poisoner, name string) answer {
		return p.api(http.MethodPost, "subscriptions", p.subscription("auth", quoted(name)))
	},
	"device: expiration": func(p *poisoner, name string) answer {
		return p.api(http.MethodPost, "subscriptions", p.subscription("expirationTime", quoted(name)))
	},
	"device: new name": func(p *poisoner, name string) answer {
		return p.api(http.MethodPatch, "subscriptions/"+p.device, `{"name":`+quoted(name)+`}`)
	},
	"device: folder": func(p *poisoner, name string) answer {
		return p.api(http.MethodPatch, "subscriptions/"+p.device, `{"preferences":{"folders":[`+quoted(name)+`]}}`)
	},
	"device: sender": func(p *poisoner, name string) answer {
		return p.api(http.MethodPatch, "subscriptions/"+p.device, `{"preferences":{"notFrom":[`+quoted("@"+name)+`]}}`)
	},
	"device: time zone": func(p *poisoner, name string) answer {
		return p.api(http.MethodPatch, "subscriptions/"+p.device, `{"preferences":{"quietHours":{"start":"22:00","end":"07:00","timeZone":`+quoted(name)+`}}}`)
	},
	"device: mute": func(p *poisoner, name string) answer {
		return p.api(http.MethodPatch, "subscriptions/"+p.device, `{"preferences":{"mutedUntil":`+quoted(name)+`}}`)
	},
	"device: code": func(p *poisoner, name string) answer {
		return p.api(http.MethodPatch, "subscriptions/"+p.device, `{"verificationCode":`+quoted(name)+`}`)
	},
	"device: identity": func(p *poisoner, name string) answer {
		return p.api(http.MethodDelete, "subscriptions/"+url.PathEscape(name), "")
	},
	"action: user":  func(p *poisoner, name string) answer { return p.api(http.MethodPost, "actions", forged(name, "x")) },
	"action: token": func(p *poisoner, name string) answer { return p.api(http.MethodPost, "actions", forged(p.user, name)) },
	"stream: header": func(p *poisoner, name string) answer {
		return p.stream("", "Last-Event-ID: "+strings.NewReplacer("\r\n", "", "\x00", "").Replace(name)+"\r\n")
	},
	"stream: parameter": func(p *poisoner, name string) answer { return p.stream("?last-event-id="+url.QueryEscape(name), "") },
	"admin: register": func(p *poisoner, name string) answer {
		return p.in.admin(http.MethodPut, "registrations/"+url.PathEscape(name), "")
	},
	"admin: unregister": func(p *poisoner, name string) answer {
		return p.in.admin(http.MethodDelete, "registrations/"+url.PathEscape(name), "")
	},
	"admin: registration": func(p *poisoner, name string) answer {
		return p.in.admin(http.MethodGet, "registrations?user="+url.QueryEscape(name), "")
	},
	"admin: many users": func(p *poisoner, name string) answer {
		return p.in.admin(http.MethodPost, "registrations", `{"action":"register","users":[`+quoted(name)+`,"`+healthy+`"]}`)
	},
	"admin: devices": func(p *poisoner, name string) answer {
		return p.in.admin(http.MethodGet, "subscriptions?user="+url.QueryEscape(name), "")
	},
	"admin: device": func(p *poisoner, name string) answer {
		return p.in.admin(http.MethodDelete, "subscriptions/"+url.PathEscape(name)+"?user="+url.QueryEscape(name), "")
	},
	"admin: dead letters": func(p *poisoner, name string) answer {
		return p.in.admin(http.MethodGet, "dead_letters?content=true&target="+url.QueryEscape(name)+"&id="+url.QueryEscape(name), "")
	},
	"admin: replay": func(p *poisoner, name string) answer {
		return p.in.admin(http.MethodPost, "dead_letters/replay?target="+url.QueryEscape(name), "")
	},
	"admin: follow": func(p *poisoner, name string) answer {
		return p.in.admin(http.MethodGet, "follow?time=1ms&user="+url.QueryEscape(name)+"&subject="+url.QueryEscape(name), "")
	},
	"admin: test": func(p *poisoner, name string) answer {
		return p.in.admin(http.MethodPost, "test", `{"user":`+quoted(name)+`,"folder":`+quoted(name)+`}`)
	},
	"admin: target": func(p *poisoner, name string) answer {
		return p.in.admin(http.MethodDelete, "targets?name="+url.QueryEscape(name), "")
	},
	"METADATA": func(p *poisoner, name string) answer {
		// Dovecot refuses some; what it takes is a value of somebody else's.
		_ = p.in.dovecot.RegisterValue(p.user, "user="+name+"\tby="+name)
		return p.in.admin(http.MethodPut, "registrations/"+p.user, "")
	},
}

// bodyDoors are those that take a JSON object.
var bodyDoors = map[string]struct {
	object func(p *poisoner) string
	give   func(p *poisoner, body string) answer
}{
	"notify: body": {
		func(p *poisoner) string {
			return fmt.Sprintf(`"user":%q,"event":"messageNew","folder":"INBOX","imap-uidvalidity":9,"imap-uid":%d`, p.user, p.in.uids.next())
		},
		func(p *poisoner, body string) answer { return p.in.notify(p.client, body) },
	},
	"sign-in: body": {
		func(p *poisoner) string { return fmt.Sprintf(`"username":%q,"password":%q`, p.user, password) },
		func(p *poisoner, body string) answer { return p.api(http.MethodPost, "session", body) },
	},
	"device: body": {
		func(p *poisoner) string { return strings.Trim(p.subscription("name", `"x"`), "{}") + "}" },
		func(p *poisoner, body string) answer { return p.api(http.MethodPost, "subscriptions", body) },
	},
	"device: change": {
		func(*poisoner) string { return `"name":"x"` },
		func(p *poisoner, body string) answer { return p.api(http.MethodPatch, "subscriptions/"+p.device, body) },
	},
	"action: body": {
		func(p *poisoner) string { return strings.Trim(forged(p.user, "x"), "{}") },
		func(p *poisoner, body string) answer { return p.api(http.MethodPost, "actions", body) },
	},
	"admin: many users, body": {
		func(*poisoner) string { return `"action":"register","users":["x"]` },
		func(p *poisoner, body string) answer { return p.in.admin(http.MethodPost, "registrations", body) },
	},
	"admin: test, body": {
		func(*poisoner) string { return `"user":"x"` },
		func(p *poisoner, body string) answer { return p.in.admin(http.MethodPost, "test", body) },
	},
}

// Whatever somebody gives at whatever door, it is served or refused by name, as
// no fault of the service; and somebody else gets mail in time, signs in, and is
// registered. Dovecot's own list of users has odd names, too. What the command
// takes goes to the doors of the admin API.
func TestPoison(t *testing.T) {
	t.Parallel()
	var users []dovecottest.User
	for _, name := range []string{"*", "a*b", "user?", "-A", ">", ".", "..", "carol smith", `quo"te`, "müller", "bidi\u202e", "c1\u009b"} {
		users = append(users, dovecottest.User{Name: name, Password: password})
	}
	names, texts := slices.Sorted(maps.Keys(odd)), slices.Sorted(maps.Keys(bodies))
	poisoners := make([]*poisoner, max(len(names), len(texts)))
	for n := range poisoners {
		poisoners[n] = &poisoner{user: fmt.Sprintf("poisonous%d@example.com", n), client: clientFrom(t, fmt.Sprintf("127.0.5.%d", n+1), patience)}
		users = append(users, dovecottest.User{Name: poisoners[n].user, Password: password})
	}
	in := install(t, dovecottest.Config{Users: users, NoDebugLog: true, ExtraConfig: "auth_username_chars =\n"}, "register all {\ngrace 1ms\n}\n")
	h := newHealthy(t, in)
	for _, p := range poisoners {
		p.in = in
		got, cookie := in.signIn(p.client, p.user, password)
		require.Equal(t, http.StatusOK, got.status, got.body)
		p.cookie = cookie
		made := p.api(http.MethodPost, "subscriptions", p.subscription("", ""))
		require.Equal(t, http.StatusCreated, made.status, made.body)
		p.device = identity(made)
	}
	h.served("nothing")
	throughDovecot := 0 // how many doors that lead to it have been tried
	// everybody gives something at a door.
	everybody := func(door string, what []string, give func(p *poisoner, n int) answer) {
		t.Helper()
		answers := make([]answer, len(what))
		atOnce, every := len(what), 1
		if strings.HasPrefix(door, "admin") || door == "METADATA" {
			atOnce = 2 // Dovecot starts a process for each command
			if !isLong() {
				every = 4
			}
		}
		first := throughDovecot % every // another part of them at each such door
		if every > 1 {
			throughDovecot++
		}
		places := make(chan struct{}, atOnce)
		var wg sync.WaitGroup
		for n := first; n < len(what); n += every {
			places <- struct{}{}
			wg.Go(func() {
				defer func() { <-places }()
				for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
					answers[n] = give(poisoners[n], n)
					busy := answers[n].status == http.StatusServiceUnavailable && answers[n].header.Get("Retry-After") != ""
					if !busy || time.Now().After(end) {
						break
					}
				}
			})
		}
		wg.Wait()
		for n := first; n < len(what); n += every {
			got := answers[n]
			assert.True(t, got.status > 0 && got.status < 500, "%s, %s: %d %s", door, what[n], got.status, got.body)
		}
		h.served(door)
	}
	for _, door := range slices.Sorted(maps.Keys(doors)) {
		everybody(door, names, func(p *poisoner, n int) answer { return doors[door](p, odd[names[n]]) })
	}
	for _, door := range slices.Sorted(maps.Keys(bodyDoors)) {
		everybody(door, texts, func(p *poisoner, n int) answer {
			return bodyDoors[door].give(p, strings.ReplaceAll(bodies[texts[n]], "%s", bodyDoors[door].object(p)))
		})
	}
	// What was refused is replayed, is refused again, and is removed.
	require.Eventually(t, func() bool {
		for _, target := range in.status(t).Targets {
			if target.DeadLetters > 0 {
				return true
			}
		}
		return false
	}, patience, 10*time.Millisecond)
	for _, change := range [][2]string{{http.MethodGet, "dead_letters?content=true"}, {http.MethodPost, "dead_letters/replay?all=true"}, {http.MethodDelete, "dead_letters?all=true"}} {
		require.Eventually(t, func() bool { // a busy machine may not get it all done in time
			got := in.admin(change[0], change[1], "")
			return got.status == http.StatusOK && (change[0] == http.MethodGet || strings.Contains(got.body, `"failed":0`))
		}, patience, 100*time.Millisecond, change[1])
		h.served(change[1])
	}
	h.inTime()
	assert.NotContains(t, in.Log(), "panic")
}

// healthyUser is served all the time.
type healthyUser struct {
	t      *testing.T
	in     *installation
	client *http.Client
	cookie func(*http.Request)
	phone  *pushtest.Device
	apps   []*pushtest.App
	took   []time.Duration
	// accepted are the mails that were reported with success, and seen are those
	// that came to the event stream.
	accepted []int
	seen     chan int
}

func newHealthy(t *testing.T, in *installation) *healthyUser {
	t.Helper()
	h := &healthyUser{
		t: t, in: in, client: clientFrom(t, "127.0.0.3", patience), phone: in.push.Subscribe(t, in.serverKey),
		apps: []*pushtest.App{in.apple.Install(t, topic, ""), in.google.Install(t, in.google.Project)},
	}
	got, cookie := in.signIn(h.client, healthy, password)
	require.Equal(t, http.StatusOK, got.status, got.body)
	h.cookie = cookie
	h.subscribe(h.phone.JSON(map[string]any{"name": "Phone"}), func() []byte { return h.phone.Wait(1)[0].Plain })
	for _, app := range h.apps {
		h.subscribe(app.JSON(map[string]any{"name": app.Kind}), func() []byte { return app.Wait(1)[0].Text })
	}
	return h
}

// subscribe adds a device, which gets a code and gives it back.
func (h *healthyUser) subscribe(device string, first func() []byte) {
	h.t.Helper()
	made := h.in.api(h.client, http.MethodPost, "subscriptions", device, h.cookie)
	require.Equal(h.t, http.StatusCreated, made.status, made.body)
	var message struct{ VerificationCode string }
	require.NoError(h.t, json.Unmarshal(first(), &message))
	made = h.in.api(h.client, http.MethodPatch, "subscriptions/"+identity(made), `{"verificationCode":`+quoted(message.VerificationCode)+`}`, h.cookie)
	require.Equal(h.t, http.StatusOK, made.status, made.body)
}

// served requires that the user gets a mail at the webhook and on the phone, is
// signed in, and is registered.
func (h *healthyUser) served(after string) {
	h.t.Helper()
	before := h.phone.Got()
	start := time.Now()
	h.in.deliverTo(h.t, h.client, healthy)
	h.phone.Wait(before + 1)
	got := h.in.api(h.client, http.MethodGet, "session", "", h.cookie)
	require.Equal(h.t, http.StatusOK, got.status, "after %s: %s", after, got.body)
	require.Eventually(h.t, func() bool {
		return h.in.admin(http.MethodPut, "registrations/"+healthy, "").status == http.StatusOK
	}, patience, 10*time.Millisecond, "registered, after %s", after)
	h.took = append(h.took, time.Since(start))
}

// inTime requires that this took no more than a second as a rule, if the machine
// has nothing else to do.
func (h *healthyUser) inTime() {
	h.t.Helper()
	slices.Sort(h.took)
	h.t.Logf("served %d times: half within %v, all within %v", len(h.took), h.took[len(h.took)/2], h.took[len(h.took)-1])
	if isLong() {
		assert.LessOrEqual(h.t, h.took[len(h.took)*9/10], time.Second)
	}
}
