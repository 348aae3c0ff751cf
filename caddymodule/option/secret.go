// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package option

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Replace replaces the placeholders of a setting. One that is empty or
// unknown is an error.
func Replace(s string) (string, error) {
	return caddy.NewReplacer().ReplaceOrErr(s, true, true)
}

var (
	secretPlaceholder = regexp.MustCompile(`^\{(env\.[^{}]+|file\.[^{}]+)\}$`)
	secretPart        = regexp.MustCompile(`\{(env\.[^{}]+|file\.[^{}]+)\}`)

	errLiteralSecret = errors.New("a secret must come from {env.NAME} or {file./path}, because what is written in the configuration " +
		"is shown by Caddy's admin API ({$NAME} is replaced too early and ends there as well)")
	errEmptySecret   = errors.New("the secret is empty or cannot be read")
	errMissingSecret = errors.New("it is missing: give it as {env.NAME} or {file./path}")
)

// Secret finds the secret that the placeholder s stands for. A secret
// written out in the configuration, and an empty one, are errors, which never
// tell its value.
func Secret(s string) (string, error) {
	if s == "" {
		return "", errMissingSecret
	}
	if !secretPlaceholder.MatchString(s) {
		return "", errLiteralSecret
	}
	secret, err := caddy.NewReplacer().ReplaceOrErr(s, true, true)
	if err != nil || secret == "" {
		return "", fmt.Errorf("%w: %s", errEmptySecret, s)
	}
	return secret, nil
}

var secretHeader = regexp.MustCompile(`(?i)auth|cookie|key|password|secret|token`)

// IsTemplate reports whether the value of an option is a Go template.
func IsTemplate(value string) bool { return strings.Contains(value, "{{") }

// Header replaces the placeholders in the value of a header field. Where
// the name says that it is a secret, at least a part of it must come from a
// placeholder for secrets, and be there. A template stays as it is; a secret one
// must look something up.
func Header(name, value string) (string, error) {
	if IsTemplate(value) {
		if secretHeader.MatchString(name) && !strings.Contains(value, "lookup ") {
			return "", errLiteralSecret
		}
		return value, nil
	}
	if !secretHeader.MatchString(name) {
		return Replace(value)
	}
	if !secretPart.MatchString(value) {
		return "", errLiteralSecret
	}
	replaced, err := caddy.NewReplacer().ReplaceOrErr(value, true, true)
	if err != nil {
		return "", fmt.Errorf("%w: %s", errEmptySecret, strings.Join(secretPart.FindAllString(value, -1), " "))
	}
	return replaced, nil
}
