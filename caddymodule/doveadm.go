// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
)

// DoveAdm is the DoveAdm HTTP API of one or several Dovecots that serve the same
// users. Users are registered through it. Commands go to the endpoints in turn;
// one that cannot serve is left out until a check finds it back.
type DoveAdm struct {
	// URLs such as http://imap1:8080/doveadm/v1, with http or https. Without a
	// path it is /doveadm/v1. Placeholders are replaced. Credentials do not
	// belong here.
	Endpoints []string `json:"endpoints,omitempty"`

	// Dovecot's doveadm_api_key, as a placeholder: {env.NAME} or {file./path}.
	// It permits reading and deleting all mail, unless Dovecot's
	// doveadm_allowed_commands limits it.
	APISecret string `json:"api_secret,omitempty"`

	// User name and password for HTTP Basic, the alternative. Dovecot knows
	// the user doveadm, with its doveadm_password. The password must be a
	// placeholder.
	Username string `json:"username,omitempty"`
	Password string `json:"password,omitempty"`

	// How many connections may be open at a time, to all endpoints together.
	// Dovecot starts a process for each, at most 100 by default. Default: 100.
	TotalConnections int `json:"total_connections,omitempty"`

	// How many of them may go to one endpoint. 0, the default, and negative
	// numbers divide total_connections evenly among the endpoints.
	MaxConnectionsPerRoute int `json:"max_connections_per_route,omitempty"`

	// How long Dovecot may take to answer. Commands for all users have a longer
	// limit. Default: 10s.
	ReadTimeout caddy.Duration `json:"read_timeout,omitempty"`

	// How long connecting may take, including TLS. Default: 3s.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`

	// How long an endpoint stays out of service before it is checked again,
	// plus or minus a tenth. It is checked sooner if there is no other.
	// Default: 60s.
	CheckInterval caddy.Duration `json:"check_interval,omitempty"`

	// A PEM file with the certificates of the CAs that the certificates of
	// https endpoints are verified with. Default: those of the operating
	// system. Placeholders are replaced.
	CAFile string `json:"ca_file,omitempty"`

	// PEM files with the client certificate for https endpoints and its key.
	// Placeholders are replaced.
	ClientCertFile string `json:"client_cert_file,omitempty"`
	ClientKeyFile  string `json:"client_key_file,omitempty"`

	// The doveadm.properties of Open-Xchange, whose settings
	// com.openexchange.dovecot.doveadm.* are used if the options above are not
	// set: `enabled`, which must be true, `endpoints`, `apiSecret`, and
	// `endpoints.` with `totalConnections`, `maxConnectionsPerRoute`,
	// `readTimeout`, `connectTimeout` and `checkInterval`. It is read when the
	// configuration is loaded. Placeholders are replaced.
	PropertiesFile string `json:"properties_file,omitempty"`

	client *doveadm.Client
}

// provision makes the client, which connects to nothing yet. A client is as
// cheap as its settings are: each configuration has its own. One that is loaded
// again looks at all endpoints with fresh eyes.
func (d *DoveAdm) provision(log *zap.Logger, inner *slog.Logger) error {
	cfg, err := d.config()
	if err != nil {
		return fmt.Errorf("doveadm: %w", err)
	}
	if d.PropertiesFile != "" {
		if err := d.addProperties(&cfg, log); err != nil {
			return fmt.Errorf("doveadm: properties_file: %w", err)
		}
	}
	if cfg.TLS != nil && !anyHTTPS(cfg.Endpoints) {
		return errors.New("doveadm: ca_file and client_cert are for https endpoints, and there is none")
	}
	cfg.Logger, cfg.Observe = inner, observeDoveAdm
	d.client, err = doveadm.New(cfg)
	return err
}

// config is the same for the package doveadm, without the defaults.
func (d *DoveAdm) config() (cfg doveadm.Config, err error) {
	cfg = doveadm.Config{
		TotalConnections: d.TotalConnections, MaxConnectionsPerRoute: d.MaxConnectionsPerRoute,
		ReadTimeout: time.Duration(d.ReadTimeout), ConnectTimeout: time.Duration(d.ConnectTimeout),
		CheckInterval: time.Duration(d.CheckInterval),
	}
	for _, endpoint := range d.Endpoints {
		url, err := option.Replace(endpoint)
		if err != nil {
			return cfg, fmt.Errorf("endpoint: %w", err)
		}
		cfg.Endpoints = append(cfg.Endpoints, url)
	}
	for name, s := range map[string]*string{
		"basic_auth": &d.Username, "ca_file": &d.CAFile, "client_cert": &d.ClientCertFile,
		"client_cert key": &d.ClientKeyFile, "properties_file": &d.PropertiesFile,
	} {
		if *s, err = option.Replace(*s); err != nil {
			return cfg, fmt.Errorf("%s: %w", name, err)
		}
	}
	cfg.Username = d.Username
	if d.APISecret != "" {
		if cfg.APISecret, err = option.Secret(d.APISecret); err != nil {
			return cfg, fmt.Errorf("api_secret: %w", err)
		}
	}
	if d.Password != "" {
		if cfg.Password, err = option.Secret(d.Password); err != nil {
			return cfg, fmt.Errorf("basic_auth: %w", err)
		}
	}
	cfg.TLS, err = option.ClientTLS(d.CAFile, d.ClientCertFile, d.ClientKeyFile)
	return cfg, err
}

// addProperties adds what the file of Open-Xchange has and cfg has not.
func (d *DoveAdm) addProperties(cfg *doveadm.Config, log *zap.Logger) error {
	file, err := os.Open(d.PropertiesFile)
	if err != nil {
		return err
	}
	defer file.Close()
	from, unknown, err := doveadm.ReadProperties(file)
	if err != nil {
		return fmt.Errorf("%s: %w", d.PropertiesFile, err)
	}
	if len(unknown) > 0 {
		log.Warn("the properties file has settings of the DoveAdm connector that are not known here and not used",
			zap.String("file", d.PropertiesFile), zap.Strings("keys", unknown))
	}
	if len(cfg.Endpoints) == 0 {
		cfg.Endpoints = from.Endpoints
	}
	if cfg.APISecret == "" && cfg.Password == "" {
		cfg.APISecret = from.APISecret
	}
	cfg.TotalConnections = cmp.Or(cfg.TotalConnections, from.TotalConnections)
	cfg.MaxConnectionsPerRoute = cmp.Or(cfg.MaxConnectionsPerRoute, from.MaxConnectionsPerRoute)
	cfg.ReadTimeout = cmp.Or(cfg.ReadTimeout, from.ReadTimeout)
	cfg.ConnectTimeout = cmp.Or(cfg.ConnectTimeout, from.ConnectTimeout)
	cfg.CheckInterval = cmp.Or(cfg.CheckInterval, from.CheckInterval)
	return nil
}

func anyHTTPS(urls []string) bool {
	for _, url := range urls {
		if strings.HasPrefix(strings.ToLower(url), "https:") {
			return true
		}
	}
	return false
}

// doveadmClient is the connector, or nil where none is configured.
func (a *App) doveadmClient() *doveadm.Client {
	if a.DoveAdm == nil {
		return nil
	}
	return a.DoveAdm.client
}

func (a *App) doveadmStatus() (list []adminapi.DoveAdmStatus) {
	client := a.doveadmClient()
	if client == nil {
		return nil
	}
	for _, e := range client.Endpoints() {
		status := adminapi.DoveAdmStatus{Endpoint: e.Address, Up: e.InService}
		if !e.InService {
			status.Error, status.Since = e.Reason.Error(), &e.Since
		}
		list = append(list, status)
	}
	return list
}

// closeDoveAdm ends the background work of the client.
func (a *App) closeDoveAdm() {
	if client := a.doveadmClient(); client != nil {
		client.Close()
	}
}
