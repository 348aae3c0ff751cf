// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/dovecotpush/caddy-dovecot-push/internal/properties"
)

// The properties of the middleware that have a counterpart here.
const (
	propertyLogin    = "com.openexchange.rest.services.basic-auth.login"
	propertyPassword = "com.openexchange.rest.services.basic-auth.password"
	propertyHost     = "com.openexchange.connector.networkListenerHost"
	propertyPort     = "com.openexchange.connector.networkListenerPort"
	doveAdmPrefix    = "com.openexchange.dovecot.doveadm."
)

// doveAdmOptions are the options of the block doveadm for the properties
// below doveAdmPrefix, and whether the value is in milliseconds.
var doveAdmOptions = map[string]struct {
	option string
	millis bool
}{
	"endpoints.totalConnections":       {"total_connections", false},
	"endpoints.maxConnectionsPerRoute": {"max_connections_per_route", false},
	"endpoints.readTimeout":            {"read_timeout", true},
	"endpoints.connectTimeout":         {"connect_timeout", true},
	"endpoints.checkInterval":          {"check_interval", true},
}

// ReadProperties reads all .properties files of a directory of the middleware,
// /opt/open-xchange/etc and what is below it. No secret is kept.
func (s *Source) ReadProperties(dir fs.FS) error {
	found := make(map[string]string)
	where := make(map[string]string)
	err := fs.WalkDir(dir, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".properties") {
			return err
		}
		content, err := fs.ReadFile(dir, path)
		if err != nil {
			return err
		}
		values, err := properties.Parse(content)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for key, value := range values {
			switch {
			case key == propertyLogin, key == propertyPassword, key == propertyHost, key == propertyPort, strings.HasPrefix(key, doveAdmPrefix):
				value = strings.TrimSpace(value)
				if err := properties.Check(value); err != nil {
					return fmt.Errorf("%s: %s: %w", path, key, err)
				}
				found[key], where[key] = value, path
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("there is neither %s nor %s* in its .properties files", propertyLogin, doveAdmPrefix)
	}
	s.Properties = &Properties{Login: found[propertyLogin], HasPassword: found[propertyPassword] != "", Listener: "127.0.0.1:8009"}
	if port, err := strconv.ParseUint(found[propertyPort], 10, 16); err == nil && port > 0 {
		s.Properties.Listener = fmt.Sprintf("127.0.0.1:%d", port)
	}
	if host, err := netip.ParseAddr(found[propertyHost]); err == nil && !host.IsUnspecified() {
		_, port, _ := net.SplitHostPort(s.Properties.Listener)
		s.Properties.Listener = net.JoinHostPort(host.String(), port)
	}
	if s.Properties.Login != "" && !s.Properties.HasPassword {
		s.leave(where[propertyLogin], "%s is empty: the middleware answers 403 to everything until it is set", propertyPassword)
	}
	s.doveAdm(found, where)
	return nil
}

func (s *Source) doveAdm(found, where map[string]string) {
	var d DoveAdm
	for _, key := range slices.Sorted(maps.Keys(found)) {
		name, ours := strings.CutPrefix(key, doveAdmPrefix)
		if !ours {
			continue
		}
		value := found[key]
		known, ok := doveAdmOptions[name]
		switch {
		case name == "enabled", name == "apiSecret":
		case name == "endpoints":
			for endpoint := range strings.SplitSeq(value, ",") {
				if endpoint = strings.TrimSpace(endpoint); endpoint == "" {
					continue
				}
				if !strings.Contains(endpoint, "://") {
					s.leave(where[key], "the endpoint %s has no scheme: it is taken for http://", endpoint)
					endpoint = "http://" + endpoint
				}
				if u, err := url.Parse(endpoint); err != nil || u.User != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
					s.leave(where[key], "an endpoint that is no http:// or https:// URL, or has credentials in it, is not taken over")
					continue
				}
				d.Endpoints = append(d.Endpoints, endpoint)
			}
		case ok && value == "": // its default
		case ok:
			number, err := strconv.ParseInt(value, 10, 32)
			switch {
			case err != nil:
				s.leave(where[key], "%s is no number: its default is used", key)
				continue
			case number < 1 && known.option != "max_connections_per_route":
				s.leave(where[key], "%s is less than 1: its default is used", key)
				continue
			case known.millis:
				value += "ms"
			}
			d.Options = append(d.Options, [2]string{known.option, value})
		default:
			s.leave(where[key], "%s is not taken over", key)
		}
	}
	switch enabled := found[doveAdmPrefix+"enabled"]; {
	case len(d.Endpoints) == 0:
	case !strings.EqualFold(enabled, "true"):
		s.leave(where[doveAdmPrefix+"endpoints"], "the DoveAdm connector has endpoints but is not enabled: it is left out")
	default:
		s.Properties.DoveAdm = &d
	}
}
