// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/api"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/events"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/page"
	"github.com/dovecotpush/caddy-dovecot-push/internal/lograte"
)

func init() {
	caddy.RegisterModule(API{})
}

// DefaultAPIPath is where people find the page if nobody said otherwise.
const DefaultAPIPath = "/push"

// API is what people and their programs have to do with: a page to turn
// notifications on with, the JSON API that it uses for devices (with
// `deliver webpush`), and a stream of new mails as they come. People sign in
// with their mail login, or with any authentication that comes before it.
//
// It serves its path and what is below it; every other path goes to the next
// handler. Browsers want HTTPS for all of it.
//
// In the Caddyfile this is the directive `dovecot_push_api`.
type API struct {
	// The path of the page: /push and /push/* mean the same. / or /* is the
	// whole site. Default: /push
	Path string `json:"path,omitempty"`

	// How people sign in. `imap`: with their mail login, which is checked at
	// the IMAP server. `caddy`: a handler before this one has authenticated the
	// request, and `{http.auth.user.id}` is the Dovecot login.
	Login string `json:"login"`

	// The IMAP server that logins are checked at. Default: the one of the app
	// dovecot_push.
	IMAP *MailLogin `json:"imap,omitempty"`

	// Where people read their mail. The page and its notifications link there.
	// An https:// URL, or a path of this site. Placeholders are replaced when
	// the configuration is loaded, but for `{user}`, `{folder}` and `{uid}` in the
	// path, the query or the fragment: they stand for those of a mail, so that a
	// notification opens its mail. The page itself then links to what is before
	// them.
	WebmailURL string `json:"webmail_url,omitempty"`

	// The name of the page, also on the home screen of a phone. Default: "New
	// mail", in the language of the browser.
	Name string `json:"name,omitempty"`

	// Where people find help. The page links there, as to the other three URLs.
	// Each is an https:// URL, or a path of this site. Placeholders are
	// replaced when the configuration is loaded.
	HelpURL string `json:"help_url,omitempty"`

	// Where people get a new password. The page links there where they sign in.
	PasswordURL string `json:"password_url,omitempty"`

	// What is done with the data of people.
	PrivacyURL string `json:"privacy_url,omitempty"`

	// Who runs the page.
	ImprintURL string `json:"imprint_url,omitempty"`

	// What the page looks like.
	Theme *PageTheme `json:"theme,omitempty"`

	app     *App
	log     *zap.Logger
	handler http.Handler
	streams *events.Handler
	quiet   *lograte.Limiter[struct{}]
}

// PageTheme is what the page looks like.
type PageTheme struct {
	// The colour of buttons, links and marks, such as `#0b6b63`. It is made
	// darker on light ground, and lighter on dark, as far as it must be to be
	// readable.
	Accent string `json:"accent,omitempty"`

	// A picture for the heading: a path of this site, as the page loads nothing
	// from elsewhere. It is shown 36 pixels high, and at most 128 wide. The
	// icons of an installed page stay.
	Logo string `json:"logo,omitempty"`
}

// The ways to sign in.
const (
	loginIMAP  = "imap"
	loginCaddy = "caddy"
)

// CaddyModule returns the Caddy module information.
func (API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.dovecot_push_api",
		New: func() caddy.Module { return new(API) },
	}
}

// Provision reads the configuration.
func (a *API) Provision(ctx caddy.Context) error {
	a.log, a.quiet = ctx.Logger(), lograte.New[struct{}](strangersLimit)
	if a.Path == "" {
		a.Path = DefaultAPIPath
	}
	a.Path = strings.TrimSuffix(strings.TrimSuffix(a.Path, "*"), "/")
	if a.Path != "" && (!strings.HasPrefix(a.Path, "/") || path.Clean(a.Path) != a.Path || strings.ContainsAny(a.Path, "*?#%{}")) {
		return fmt.Errorf("path %q must be one plain path, such as %s", a.Path, DefaultAPIPath)
	}
	mod, err := ctx.AppIfConfigured("dovecot_push")
	if err != nil {
		return fmt.Errorf("dovecot_push_api needs the global option dovecot_push (the app of that name), "+
			"which takes the notifications in: %w", err)
	}
	a.app = mod.(*App)
	mail, err := newWebmail(a.WebmailURL)
	if err != nil {
		return err
	}
	look, err := a.page()
	if err != nil {
		return err
	}
	streams, err := a.app.provideStreams()
	if err != nil {
		return err
	}
	auth, err := a.authenticator(ctx, streams)
	if err != nil {
		return err
	}
	if a.Login == loginIMAP && clientIPForgeable(ctx) {
		a.log.Warn("wrong logins are limited by an address that can be forged: "+forgeable, zap.String("path", cmp.Or(a.Path, "/")))
	}
	a.streams = events.New(events.Config{Open: streams.openStream, Observe: streamObserver})
	cfg := api.Config{
		Login: a.Login, WebmailURL: mail.url, MailURL: mail.mailURL, Authenticator: auth, Events: a.streams,
		Page: page.New(look),
	}
	if a.app.devices != nil {
		cfg.Subscriptions, cfg.Kinds = a.app.devices, a.app.devices.kinds()
	}
	cfg.Actions = a.app.actionsHandler()
	if a.app.keyHolder() != nil {
		cfg.ApplicationServerKey = a.app.applicationServerKey
	}
	a.handler = api.New(cfg)
	// Caddy waits for requests that are under way before it tells modules that
	// they are no longer needed: a stream must end before that.
	evs, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("loading the events app: %w", err)
	}
	return evs.(*caddyevents.App).On("stopping", a)
}

// page is what the configuration says about the page.
func (a *API) page() (page.Options, error) {
	o := page.Options{Name: a.Name}
	for _, link := range []struct {
		option, value string
		to            *string
	}{
		{"help_url", a.HelpURL, &o.HelpURL},
		{"password_url", a.PasswordURL, &o.PasswordURL},
		{"privacy_url", a.PrivacyURL, &o.PrivacyURL},
		{"imprint_url", a.ImprintURL, &o.ImprintURL},
	} {
		var err error
		if *link.to, err = linkURL(link.option, link.value); err != nil {
			return o, err
		}
	}
	if a.Theme == nil {
		return o, nil
	}
	if a.Theme.Accent != "" {
		accent, err := page.ParseColor(a.Theme.Accent)
		if err != nil {
			return o, fmt.Errorf("theme: accent: %w", err)
		}
		o.Accent = &accent
	}
	o.Logo = a.Theme.Logo
	if u, err := parseLink("logo", o.Logo); err != nil || u.Scheme != "" {
		return o, fmt.Errorf("theme: logo must be a path of this site, such as /logo.svg, not %q", o.Logo)
	}
	return o, nil
}

// linkURL is something that a page may safely link to.
func linkURL(name, s string) (string, error) {
	s, err := option.Replace(s)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	_, err = parseLink(name, s)
	return s, err
}

// Handle ends the streams when the configuration, or Caddy, is about to end.
func (a *API) Handle(context.Context, caddy.Event) error {
	a.streams.Stop()
	return nil
}

// Cleanup ends the streams, should nobody have done so.
func (a *API) Cleanup() error {
	if a.streams != nil { // Provision may have failed before
		a.streams.Stop()
	}
	return nil
}

// ServeHTTP serves what is below the path.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	rest, ok := strings.CutPrefix(r.URL.Path, a.Path)
	switch {
	case !ok || rest != "" && rest[0] != '/':
		return next.ServeHTTP(w, r)
	case rest == "":
		// Relative, because something before this may have taken a part of the
		// path away.
		w.Header().Set("Location", path.Base(a.Path)+"/")
		w.WriteHeader(http.StatusPermanentRedirect)
		return nil
	}
	r2 := *r
	u := *r.URL
	u.Path, u.RawPath = rest, ""
	r2.URL = &u
	a.handler.ServeHTTP(w, &r2)
	return nil
}

// Validate tells about contradictions in the configuration.
func (a *API) Validate() error {
	if a.Login == loginCaddy && a.IMAP != nil {
		return errors.New("an IMAP server is of no use with login caddy")
	}
	return nil
}

// Interface guards.
var (
	_ caddy.Provisioner           = (*API)(nil)
	_ caddy.Validator             = (*API)(nil)
	_ caddy.CleanerUpper          = (*API)(nil)
	_ caddyhttp.MiddlewareHandler = (*API)(nil)
	_ caddyevents.Handler         = (*API)(nil)
)
