// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
)

// webmail is where people read their mail: URLs that a page may safely link to.
type webmail struct {
	// url is that of the webmail, or empty.
	url string
	// mailURL is that of a mail, with placeholders; empty if there are none in
	// the option.
	mailURL string
}

// ofMail are the placeholders for what a notification knows of a mail. Its
// Message-ID is not among it.
var ofMail = regexp.MustCompile(`\{(?:user|folder|uid)\}`)

// newWebmail reads the option webmail_url.
func newWebmail(text string) (webmail, error) {
	// What other placeholders stand for is not searched for these.
	parts := ofMail.Split(text, -1)
	for i, part := range parts {
		var err error
		if parts[i], err = option.Replace(part); err != nil {
			return webmail{}, fmt.Errorf("webmail_url: %w (of a mail there are {user}, {folder} and {uid})", err)
		}
	}
	filled, err := parseLink("webmail_url", strings.Join(parts, "x"))
	if err != nil || len(parts) == 1 {
		return webmail{url: parts[0]}, err
	}
	start := parts[0]
	at, err := url.Parse(start)
	if err != nil || start == "" || filled.Scheme != at.Scheme || filled.Host != at.Host {
		return webmail{}, errors.New("webmail_url: {user}, {folder} and {uid} can be in the path, the query and the fragment only")
	}
	var mailURL strings.Builder
	names := append(ofMail.FindAllString(text, -1), "")
	for i, part := range parts {
		mailURL.WriteString(part)
		mailURL.WriteString(names[i])
	}
	return webmail{url: withoutMail(start), mailURL: mailURL.String()}, nil
}

// parseLink reads the value of an option and allows nothing that a browser could take
// for a script or, without a scheme, for another host.
func parseLink(option, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return new(url.URL), nil
	case err != nil || strings.Contains(s, `\`),
		u.Scheme == "" && (u.Host != "" || !strings.HasPrefix(s, "/")),
		u.Scheme != "" && (u.Scheme != "https" && u.Scheme != "http" || u.Host == ""):
		return nil, fmt.Errorf("%s must be an https:// URL or a path of this site, not %q", option, s)
	}
	return u, nil
}

// withoutMail is the URL of the webmail: what comes before the part in which the
// first placeholder is.
func withoutMail(start string) string {
	for _, part := range []string{"#", "?"} {
		if before, _, ok := strings.Cut(start, part); ok {
			return before
		}
	}
	return start[:strings.LastIndexByte(start, '/')+1]
}
