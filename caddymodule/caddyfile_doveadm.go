// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

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
	err := parseBlock(d, "doveadm",
		stringOption("api_secret", &a.APISecret),
		pairOption("basic_auth", false, func(u, p string) { a.Username, a.Password = u, p }),
		intOption("total_connections", &a.TotalConnections),
		intOption("max_connections_per_route", &a.MaxConnectionsPerRoute),
		durationOption("read_timeout", &a.ReadTimeout),
		durationOption("connect_timeout", &a.ConnectTimeout),
		durationOption("check_interval", &a.CheckInterval),
		stringOption("ca_file", &a.CAFile),
		pairOption("client_cert", false, func(c, k string) { a.ClientCertFile, a.ClientKeyFile = c, k }),
		stringOption("properties_file", &a.PropertiesFile),
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
