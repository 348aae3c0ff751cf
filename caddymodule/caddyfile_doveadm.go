// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// parseDoveAdm reads the block doveadm. Syntax:
//
//	doveadm [<urls...>] {
//	    api_secret                <secret>
//	    basic_auth                <user> <password>
//	    total_connections         <n>
//	    max_connections_per_route <n>
//	    read_timeout              <duration>
//	    connect_timeout           <duration>
//	    check_interval            <duration>
//	    ca_file                   <pem>
//	    client_cert               <pem> <key>
//	    properties_file           <path>
//	}
//
// There are either URLs or a properties_file, which may have more of the rest.
func parseDoveAdm(d *caddyfile.Dispenser) (*DoveAdm, error) {
	a := &DoveAdm{Endpoints: d.RemainingArgs()}
	err := option.Block(d, "doveadm",
		option.String("api_secret", &a.APISecret),
		option.Pair("basic_auth", false, func(u, p string) { a.Username, a.Password = u, p }),
		option.Int("total_connections", &a.TotalConnections),
		option.Int("max_connections_per_route", &a.MaxConnectionsPerRoute),
		option.Duration("read_timeout", &a.ReadTimeout),
		option.Duration("connect_timeout", &a.ConnectTimeout),
		option.Duration("check_interval", &a.CheckInterval),
		option.String("ca_file", &a.CAFile),
		option.Pair("client_cert", false, func(c, k string) { a.ClientCertFile, a.ClientKeyFile = c, k }),
		option.String("properties_file", &a.PropertiesFile),
	)
	switch {
	case err != nil:
		return nil, err
	case len(a.Endpoints) == 0 && a.PropertiesFile == "":
		return nil, d.Err("doveadm needs the URL of at least one endpoint, such as http://imap1:8080/doveadm/v1, or a properties_file")
	case a.APISecret != "" && a.Password != "":
		return nil, d.Err("doveadm has both api_secret and basic_auth; Dovecot takes one of them")
	case a.APISecret == "" && a.Password == "" && a.PropertiesFile == "":
		return nil, d.Err("doveadm needs api_secret, the value of Dovecot's doveadm_api_key, or basic_auth")
	}
	return a, nil
}
