// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/doveconf"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
)

// arrangement is one configuration of Dovecot. URL in it is that of an endpoint.
type arrangement struct {
	only   dovecottest.Version // both, if empty
	config string
	noDict bool
	// blind tells that only a delivery can decide: the configuration alone says
	// neither yes nor no.
	blind bool
}

// Parts of configurations.
const (
	load23 = "mail_plugins = $mail_plugins notify push_notification\n"
	load24 = "mail_plugins {\n notify = yes\n push_notification = yes\n}\n"
	ox23   = "push_notification_driver = ox:url=URL\n"
	ox24   = "push_notification ox {\n driver = ox\n ox_url = URL\n http_client_request_timeout = 5s\n}\n"
	lua23  = "mail_plugins = $mail_plugins mail_lua notify push_notification push_notification_lua\n"
	lua24  = "mail_plugins {\n mail_lua = yes\n notify = yes\n push_notification = yes\n push_notification_lua = yes\n}\n"
)

func inLMTP(s string) string   { return "protocol lmtp {\n" + s + "}\n" }
func inPlugin(s string) string { return "plugin {\n" + s + "}\n" }

var arrangements = map[string]arrangement{
	// 2.3
	"23 ours":                         {only: dovecottest.V23, config: inLMTP(load23) + inPlugin(ox23)},
	"23 plugin for everybody":         {only: dovecottest.V23, config: load23 + inPlugin(ox23)},
	"23 driver inside the protocol":   {only: dovecottest.V23, config: inLMTP(load23 + inPlugin(ox23))},
	"23 variable in the URL":          {only: dovecottest.V23, config: inLMTP(load23) + inPlugin(strings.Replace(ox23, "URL", "URL?for=%u", 1))},
	"23 long variable in the URL":     {only: dovecottest.V23, config: inLMTP(load23) + inPlugin(strings.Replace(ox23, "URL", "URL?for=%{user}", 1))},
	"23 doubled percent":              {only: dovecottest.V23, config: inLMTP(load23) + inPlugin(strings.Replace(ox23, "URL", "URL?a=%%40b", 1))},
	"23 the old name of the driver":   {only: dovecottest.V23, config: inLMTP(load23) + inPlugin("push_notification_backend = ox:url=URL\n")},
	"23 second driver":                {only: dovecottest.V23, config: inLMTP(load23) + inPlugin("push_notification_driver = dlog\npush_notification_driver2 = ox:url=URL\n")},
	"23 a gap before ours":            {only: dovecottest.V23, config: inLMTP(load23) + inPlugin("push_notification_driver = dlog\npush_notification_driver3 = ox:url=URL\n")},
	"23 a gap after ours":             {only: dovecottest.V23, config: inLMTP(load23) + inPlugin(ox23+"push_notification_driver3 = ox:url=URL\n")},
	"23 a driver that is none before": {only: dovecottest.V23, config: inLMTP(load23) + inPlugin("push_notification_driver = nonsense\npush_notification_driver2 = ox:url=URL\n")},
	"23 an URL that is none before":   {only: dovecottest.V23, config: inLMTP(load23) + inPlugin("push_notification_driver = ox:url=nonsense\npush_notification_driver2 = ox:url=URL\n")},
	"23 an URL that is none":          {only: dovecottest.V23, config: inLMTP(load23) + inPlugin("push_notification_driver = ox:url=nonsense\n")},
	"23 another path":                 {only: dovecottest.V23, config: inLMTP(load23) + inPlugin("push_notification_driver = ox:url=URL/other\n")},
	"23 dlog":                         {only: dovecottest.V23, config: inLMTP(load23) + inPlugin("push_notification_driver = dlog\n")},
	"23 no driver":                    {only: dovecottest.V23, config: inLMTP(load23)},
	"23 no plugin":                    {only: dovecottest.V23, config: inPlugin(ox23)},
	"23 plugin for IMAP only":         {only: dovecottest.V23, config: "protocol imap {\n" + load23 + "}\n" + inPlugin(ox23)},
	"23 plugin for all but IMAP":      {only: dovecottest.V23, config: "protocol !imap {\n" + load23 + "}\n" + inPlugin(ox23)},
	"23 plugin taken from LMTP":       {only: dovecottest.V23, config: load23 + inPlugin(ox23) + inLMTP("mail_plugins =\n")},
	"23 driver taken from LMTP":       {only: dovecottest.V23, config: inLMTP(load23+inPlugin("push_notification_driver = dlog\n")) + inPlugin(ox23)},
	"23 no dictionary":                {only: dovecottest.V23, noDict: true, config: inLMTP(load23) + inPlugin(ox23)},
	"23 dictionary for LMTP":          {only: dovecottest.V23, noDict: true, config: inLMTP(load23+"mail_attribute_dict = file:%h/dovecot-attributes\n") + "protocol doveadm {\nmail_attribute_dict = file:%h/dovecot-attributes\n}\n" + inPlugin(ox23)},
	"23 a user without password":      {only: dovecottest.V23, config: inLMTP(load23) + inPlugin(strings.Replace(ox23, "URL", "NOPASSWORD", 1))},
	"23 wrong password":               {only: dovecottest.V23, config: inLMTP(load23) + inPlugin(strings.Replace(ox23, "URL", "WRONG", 1))},
	"23 nobody listens":               {only: dovecottest.V23, config: inLMTP(load23) + inPlugin(strings.Replace(ox23, "URL", "http://dovecot:korrekt@127.0.0.1:1"+notifyPath, 1))},
	"23 Lua":                          {only: dovecottest.V23, blind: true, config: inLMTP(lua23) + inPlugin("push_notification_driver = lua:file={{.Dir}}/push.lua\n")},
	"23 Lua for everybody":            {only: dovecottest.V23, blind: true, config: lua23 + inPlugin("push_notification_driver = lua:file={{.Dir}}/push.lua\n")},
	"23 Lua without its plugin":       {only: dovecottest.V23, config: inLMTP(load23) + inPlugin("push_notification_driver = lua:file={{.Dir}}/push.lua\n")},
	"23 Lua, and ours":                {only: dovecottest.V23, config: inLMTP(lua23) + inPlugin("push_notification_driver = lua:file={{.Dir}}/push.lua\npush_notification_driver2 = ox:url=URL\n")},
	// 2.4
	"24 ours":                       {only: dovecottest.V24, config: inLMTP(load24) + ox24},
	"24 plugin for everybody":       {only: dovecottest.V24, config: load24 + ox24},
	"24 driver inside the protocol": {only: dovecottest.V24, config: inLMTP(load24 + ox24)},
	"24 the name is the driver":     {only: dovecottest.V24, config: inLMTP(load24) + strings.Replace(ox24, " driver = ox\n", "", 1)},
	"24 percent":                    {only: dovecottest.V24, config: inLMTP(load24) + strings.Replace(ox24, "URL", "URL?a=%40b", 1)},
	"24 another path":               {only: dovecottest.V24, config: inLMTP(load24) + strings.Replace(ox24, "URL", "URL/other", 1)},
	"24 no driver":                  {only: dovecottest.V24, config: inLMTP(load24)},
	"24 no plugin":                  {only: dovecottest.V24, config: ox24},
	"24 plugin for IMAP only":       {only: dovecottest.V24, config: "protocol imap {\n" + load24 + "}\n" + ox24},
	"24 plugin taken from LMTP":     {only: dovecottest.V24, config: load24 + ox24 + inLMTP("mail_plugins {\n push_notification = no\n}\n")},
	"24 no dictionary":              {only: dovecottest.V24, noDict: true, config: inLMTP(load24) + ox24},
	"24 dlog beside ours":           {only: dovecottest.V24, config: inLMTP(load24) + "push_notification dlog {\n driver = dlog\n}\n" + ox24},
	"24 wrong password":             {only: dovecottest.V24, config: inLMTP(load24) + strings.Replace(ox24, "URL", "WRONG", 1)},
	"24 Lua":                        {only: dovecottest.V24, blind: true, config: inLMTP(lua24) + "push_notification lua {\n driver = lua\n lua_file = {{.Dir}}/push.lua\n}\n"},
	"24 Lua for everybody":          {only: dovecottest.V24, blind: true, config: lua24 + "push_notification lua {\n driver = lua\n lua_file = {{.Dir}}/push.lua\n}\n"},
	"24 Lua, and ours":              {only: dovecottest.V24, config: inLMTP(lua24) + "push_notification lua {\n driver = lua\n lua_file = {{.Dir}}/push.lua\n}\n" + ox24},
	"24 Lua without a script":       {only: dovecottest.V24, config: inLMTP(lua24) + "push_notification lua {\n driver = lua\n}\n"},
	"24 Lua without its plugin":     {only: dovecottest.V24, config: inLMTP(load24) + "push_notification lua {\n driver = lua\n}\n"},
}

// luaScript reports to URL.
const luaScript = `
local client
function script_init()
  local ok, made = pcall(dovecot.http.client, { timeout = 5000 })
  client = ok and made or dovecot.http.client({ request_timeout = "5s" }) -- as 2.4 calls it
  return 0
end
function dovecot_lua_notify_begin_txn(user)
  return { username = user.username }
end
function dovecot_lua_notify_event_message_new(context, event)
  local request = client:request({ url = "BARE", method = "PUT" })
  request:add_header("Authorization", "Basic ZG92ZWNvdDprb3JyZWt0")
  request:submit()
end
function dovecot_lua_notify_end_txn(context, success)
end
`

// For each configuration of a real Dovecot that really reports a mail, the doctor
// has no PROBLEM; for each that does not, at least one. Where a script reports,
// it says neither: a delivery decides.
func TestReportsOrAProblem(t *testing.T) {
	dovecottest.EachVersion(t, func(t *testing.T, version dovecottest.Version) {
		for name, a := range arrangements {
			if a.only != "" && a.only != version {
				continue
			}
			t.Run(name, func(t *testing.T) {
				var reported atomic.Int64
				endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					body, _ := io.ReadAll(r.Body)
					if _, password, _ := r.BasicAuth(); password != "korrekt" {
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					if r.URL.Path != notifyPath {
						w.WriteHeader(http.StatusNotFound)
						return
					}
					if !strings.Contains(string(body), "doctorProbe") {
						reported.Add(1)
					}
					_, _ = io.WriteString(w, `{"success":true}`)
				}))
				defer endpoint.Close()
				as := func(user string) string {
					return strings.Replace(endpoint.URL, "://", "://"+user, 1) + notifyPath
				}
				urls := strings.NewReplacer("NOPASSWORD", as("dovecot@"), "WRONG", as("dovecot:falsch@"), "URL", as("dovecot:korrekt@"), "BARE", as(""))
				server := dovecottest.Start(t, dovecottest.Config{
					Version: version, ExtraConfig: urls.Replace(a.config), NoAttributeDict: a.noDict,
					Files: map[string]string{"push.lua": urls.Replace(luaScript)},
				})
				_ = server.Register(dovecottest.DefaultUser) // which fails without a dictionary
				_, _ = server.Deliver("alice@example.net", []string{dovecottest.DefaultUser}, []byte("Subject: Hello\n\nHello.\n"))
				_ = server.DeliverLDA("alice@example.net", dovecottest.DefaultUser, []byte("Subject: Hello\n\nHello.\n"))
				really := reported.Load() > 0 // by one of the ways in which mail comes

				c, err := doveconf.Ask(server.RunDoveconf)
				require.NoError(t, err)
				c.Local = false
				text, err := server.Doveconf()
				require.NoError(t, err)
				printed, err := doveconf.Parse(text)
				require.NoError(t, err)
				for how, c := range map[string]*doveconf.Config{"asked": c, "printed": printed} {
					want := Wanted{Path: notifyPath, User: dovecottest.DefaultUser}
					found := Dovecot(c, want)
					for _, driver := range Drivers(c, want) {
						u, _ := driver.URL(dovecottest.DefaultUser)
						found = append(found, Endpoint(t.Context(), Way{URL: u, TLS: driver.Client, Elsewhere: true})...)
					}
					switch {
					case a.blind:
						assert.NotEqual(t, Problem, Worst(found), "%s: %v", how, found)
						assert.True(t, skips(found), "%s: %v", how, found)
						assert.True(t, really, "the script works")
					case really:
						assert.NotEqual(t, Problem, Worst(found), "%s: it reports: %v", how, found)
					default:
						assert.Equal(t, Problem, Worst(found), "%s: it does not report: %v", how, found)
					}
				}
			})
		}
	})
}

func skips(found []Finding) bool {
	for _, f := range found {
		if f.Status == Skipped {
			return true
		}
	}
	return false
}

// The configurations that were named wrongly, as they were found.
func TestFoundConfigurations(t *testing.T) {
	server := dovecottest.Start(t, dovecottest.Config{Version: dovecottest.V23})
	files, err := filepath.Glob("testdata/reports/*.conf")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		c := configOf(t, server, "mail_attribute_dict = file:%h/dovecot-attributes\n"+string(text))
		assert.NotEqual(t, Problem, Worst(Dovecot(c, Wanted{Path: notifyPath})), "%s: %v", file, Dovecot(c, Wanted{Path: notifyPath}))
	}
}
