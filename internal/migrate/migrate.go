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

// Source is what was found.
type Source struct {
	// Apache is what an Apache did, nil if none was read.
	Apache *Apache
	// Properties are those of the middleware, nil if none were read.
	Properties *Properties
	// Left is what could not be taken over, in words for the operator, each
	// with the file and line where it is.
	Left []string
}

// Properties are those properties of the middleware that matter here.
type Properties struct {
	// Login is com.openexchange.rest.services.basic-auth.login.
	Login string
	// HasPassword tells that the password that goes with it is set.
	HasPassword bool
	// Listener is where the middleware takes requests on its own machine.
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

// token writes text so that a Caddyfile has it as one word.
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
