// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package migrate makes a Caddyfile from the configuration of an Apache in
// front of the Open-Xchange middleware, and from the properties of the
// middleware.
//
// It denies by default: a path is proxied if Apache proxies it, to the same
// nodes under the same path, for the source addresses that Apache allows. Every
// other path is answered with 404. Directives that are not understood are
// reported with file and line, and their path is closed. Directives that change
// the meaning of everything else are errors. Secrets are never printed: the
// Caddyfile has placeholders instead.
package migrate

import (
	_ "embed"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/template"
	"unicode"
)

// Source is what was read.
type Source struct {
	// Apache is the configuration of an Apache, or nil if none was read.
	Apache *Apache
	// Properties are those of the middleware, nil if none were read.
	Properties *Properties
	// Left describes for the operator what could not be taken over, with its file
	// and line.
	Left []string
}

// Properties are those properties of the middleware that matter here.
type Properties struct {
	// Login is com.openexchange.rest.services.basic-auth.login.
	Login string
	// HasPassword means that the password for it is set.
	HasPassword bool
	// Listener is the address that the middleware listens at.
	Listener string
	// DoveAdm is nil if the connector was not configured.
	DoveAdm *DoveAdm
}

// DoveAdm is com.openexchange.dovecot.doveadm.*.
type DoveAdm struct {
	Endpoints []string
	// Options are the other settings, as options of the Caddyfile.
	Options [][2]string
}

//go:embed Caddyfile.tmpl
var caddyfile string

var output = template.Must(template.New("Caddyfile").Funcs(template.FuncMap{"join": strings.Join, "token": token}).Parse(caddyfile))

// Write writes the Caddyfile.
func (s *Source) Write(w io.Writer) error { return output.Execute(w, s) }

// token quotes text as one word of a Caddyfile.
func token(text string) string {
	if text != "" && !strings.ContainsAny(text, " \t\r\n\"`#{}") {
		return text
	}
	return `"` + strings.ReplaceAll(text, `"`, `\"`) + `"`
}

func (s *Source) leave(where, format string, args ...any) {
	if line := where + ": " + oneLine(fmt.Sprintf(format, args...)); !slices.Contains(s.Left, line) {
		s.Left = append(s.Left, line)
	}
}

// oneLine keeps what comes from a file within a comment of the Caddyfile.
func oneLine(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, text)
}
