// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package webhook is the target "deliver webhook" as a module of Caddy.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/target"
	deliver "github.com/dovecotpush/caddy-dovecot-push/internal/delivery/webhook"
	"github.com/dovecotpush/caddy-dovecot-push/internal/notification"
)

func init() {
	caddy.RegisterModule(Webhook{})
}

// Webhook delivers notifications to an HTTP address: POST with JSON, signed as
// [Standard Webhooks](https://www.standardwebhooks.com) 1.0 says, or in the
// shape that another service wants, by a template. There may be several, with a
// name each.
//
// The address may be an internal one. Redirects are not followed. Proxies are
// taken from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
type Webhook struct {
	// The target's name in logs, metrics and the queue: a target with another
	// name is a new one. Required.
	Name string `json:"name"`

	// Where notifications are sent, https or http. Placeholders are replaced
	// when the configuration is loaded. The URL of a webhook is often a secret:
	// {env.NAME} or {file./path} keeps it out of the configuration.
	// {notification.id} in the path or the query is the identity of the
	// notification, the same in each attempt. Required.
	URL string `json:"url"`

	// POST or PUT. Default: POST.
	Method string `json:"method,omitempty"`

	// Secrets for the signature of Standard Webhooks 1.0, as placeholders. A
	// secret is whsec_ and 24 to 64 bytes in base64. Several allow rotation:
	// each request is then signed with all of them.
	Secrets []string `json:"secrets,omitempty"`

	// A header field with a signature like that of Open-Xchange's own
	// webhooks: t=<Unix time>,v1=<hex>, the HMAC-SHA256 of v1:<t>:<body>.
	SignatureHeader string `json:"signature_header,omitempty"`

	// The secret of that signature, as a placeholder.
	SignatureSecret string `json:"signature_secret,omitempty"`

	// User name for HTTP Basic. Placeholders are replaced when the
	// configuration is loaded.
	Username string `json:"username,omitempty"`

	// The password for HTTP Basic, as a placeholder.
	Password string `json:"password,omitempty"`

	// Header fields to send, such as Authorization, or the Content-Type of a
	// template whose output is not JSON. Placeholders are replaced when the
	// configuration is loaded. The value of a field whose name suggests a
	// secret must be a placeholder. A value with {{ in it is a template, in
	// which no placeholders are replaced.
	Headers http.Header `json:"headers,omitempty"`

	// How much of a mail is sent: `thin` (user, folder, UID, number of unseen
	// mails), `sender` (also From and Subject) or `full` (also the beginning of
	// the text). Default: thin.
	Content notification.Content `json:"content,omitempty"`

	// The events that are sent, of those that the endpoint accepts, or `all`.
	// Default: messageNew.
	Events []string `json:"events,omitempty"`

	// The users whose notifications are sent: logins as Dovecot reports them,
	// with * for any characters. Default: everybody's.
	Users []string `json:"users,omitempty"`

	// The folders whose notifications are sent, with * as above. Default: all
	// that Dovecot reports.
	Folders []string `json:"folders,omitempty"`

	// A [Go template](https://pkg.go.dev/text/template) that makes the body,
	// instead of the standard payload. It has the fields ID, Time, User,
	// Folder, UID, UIDValidity, Event, Flags, OldFolder, Unseen, From, Subject,
	// Snippet and Source, and the functions json, markdown, mrkdwn, slug, hash,
	// lookup and skip. The output must be JSON unless Headers has another
	// Content-Type.
	Template string `json:"template,omitempty"`

	// A file with the template, the alternative. It is read when the
	// configuration is loaded. Placeholders are replaced.
	TemplateFile string `json:"template_file,omitempty"`

	// How long an attempt may take. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// A PEM file with the certificates of the CAs that the receiver's
	// certificate is verified with. Default: those of the operating system.
	CAFile string `json:"ca_file,omitempty"`

	// PEM files with the client certificate for the receiver and its key.
	ClientCertFile string `json:"client_cert_file,omitempty"`
	ClientKeyFile  string `json:"client_key_file,omitempty"`

	target *deliver.Target
}

// CaddyModule returns the Caddy module information.
func (Webhook) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "dovecot_push.targets.webhook",
		New: func() caddy.Module { return new(Webhook) },
	}
}

// Provision reads the configuration.
func (w *Webhook) Provision(caddy.Context) error {
	if w.Name == "" {
		return errors.New("a webhook needs a name")
	}
	if err := w.provision(); err != nil {
		return fmt.Errorf("webhook %s: %w", w.Name, err)
	}
	return nil
}

func (w *Webhook) provision() error {
	if w.Content == "" {
		w.Content = notification.Thin
	}
	switch {
	case !w.Content.Valid():
		return fmt.Errorf("content must be thin, sender or full, not %q", w.Content)
	case w.Method != "" && w.Method != http.MethodPost && w.Method != http.MethodPut:
		return fmt.Errorf("method must be POST or PUT, not %q", w.Method)
	case w.Timeout < 0:
		return errors.New("timeout cannot be negative")
	}
	events, err := notification.ParseEvents(w.Events)
	if err != nil {
		return fmt.Errorf("events: %w", err)
	}
	cfg := deliver.Config{
		Method: w.Method, Content: w.Content, Decoder: target.Decoder,
		Filter: deliver.Filter{Events: events, Users: w.Users, Folders: w.Folders},
	}
	for _, set := range []func(*deliver.Config) error{w.address, w.secrets, w.headers, w.template, w.tls} {
		if err := set(&cfg); err != nil {
			return err
		}
	}
	w.target, err = deliver.New(cfg)
	return err
}

func (w *Webhook) address(cfg *deliver.Config) error {
	parts := strings.Split(w.URL, deliver.ID)
	for i, part := range parts {
		var err error
		if parts[i], err = option.Replace(part); err != nil {
			return fmt.Errorf("url: %w", err)
		}
	}
	cfg.URL = strings.Join(parts, deliver.ID)
	return nil
}

func (w *Webhook) secrets(cfg *deliver.Config) error {
	for _, s := range w.Secrets {
		text, err := option.Secret(s)
		if err != nil {
			return fmt.Errorf("secret: %w", err)
		}
		key, err := deliver.ParseSecret(text)
		if err != nil {
			return fmt.Errorf("secret %s: %w", s, err)
		}
		cfg.Secrets = append(cfg.Secrets, key)
	}
	if w.SignatureHeader != "" {
		secret, err := option.Secret(w.SignatureSecret)
		if err != nil {
			return fmt.Errorf("signature_header: %w", err)
		}
		cfg.SignatureHeader, cfg.SignatureSecret = w.SignatureHeader, []byte(secret)
	}
	if w.Username == "" {
		return nil
	}
	var err error
	if cfg.Username, err = option.Replace(w.Username); err != nil {
		return fmt.Errorf("credentials: user name: %w", err)
	}
	if cfg.Password, err = option.Secret(w.Password); err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	return nil
}

func (w *Webhook) headers(cfg *deliver.Config) error {
	cfg.Header = make(http.Header)
	cfg.Templates = make(map[string]string)
	for name, values := range w.Headers {
		for _, v := range values {
			value, err := option.Header(name, v)
			if err != nil {
				return fmt.Errorf("header %s: %w", name, err)
			}
			if !option.IsTemplate(value) {
				cfg.Header.Add(name, value)
				continue
			}
			if cfg.Templates[name] != "" {
				return fmt.Errorf("header %s: there can be one template for it", name)
			}
			cfg.Templates[name] = value
		}
	}
	return nil
}

func (w *Webhook) template(cfg *deliver.Config) error {
	cfg.Template = w.Template
	if w.TemplateFile == "" {
		return nil
	}
	if w.Template != "" {
		return errors.New("template and template_file cannot be used together")
	}
	path, err := option.Replace(w.TemplateFile)
	if err != nil {
		return fmt.Errorf("template_file: %w", err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("template_file: %w", err)
	}
	if cfg.Template = string(text); cfg.Template == "" {
		return fmt.Errorf("template_file: %s is empty", path)
	}
	return nil
}

func (w *Webhook) tls(cfg *deliver.Config) error {
	files := []string{w.CAFile, w.ClientCertFile, w.ClientKeyFile}
	for i, f := range files {
		var err error
		if files[i], err = option.Replace(f); err != nil {
			return fmt.Errorf("TLS: %w", err)
		}
	}
	var err error
	cfg.TLS, err = option.ClientTLS(files[0], files[1], files[2])
	return err
}

// Target implements target.Module.
func (w *Webhook) Target() target.Target {
	return target.Target{Name: w.Name, Deliverer: w.target, Wants: w.target.Wants, Timeout: time.Duration(w.Timeout)}
}

// Cleanup closes the connections that are not in use.
func (w *Webhook) Cleanup() error {
	if w.target != nil {
		w.target.Close()
	}
	return nil
}

// Probe implements target.Prober. Its URL may be a secret as a whole.
func (w *Webhook) Probe(ctx context.Context) (asked string, result target.Result) {
	return "HEAD of its URL", w.target.Probe(ctx)
}

// Interface guards.
var (
	_ caddy.Provisioner  = (*Webhook)(nil)
	_ caddy.CleanerUpper = (*Webhook)(nil)
	_ target.Module      = (*Webhook)(nil)
	_ target.Prober      = (*Webhook)(nil)
)
