// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package doveconf reads the configuration of a Dovecot: what `doveconf -n -P`
// prints, in the syntax of 2.2, 2.3 or 2.4, and what it means for push
// notifications. Settings are those that hold for a protocol: with lmtp and lda
// mail is delivered.
package doveconf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"
)

// Config is the configuration of one Dovecot.
type Config struct {
	// Release is its version, such as "2.3.19.1".
	Release string
	// Local means that it is the Dovecot of this machine, whose files can be
	// read.
	Local bool
	root  block
	// asked are the settings that Dovecot itself reports for each protocol.
	// Without them, they are derived.
	asked map[string]*block
}

// block is a part of the configuration in braces.
type block struct {
	kind, name string // protocol, lmtp
	settings   []setting
	blocks     []*block
}

type setting struct{ name, value string }

var (
	// ErrNotInstalled means that there is no doveconf on this machine.
	ErrNotInstalled = errors.New("doveconf is not installed on this machine")
	// ErrNotPermitted means that this user cannot read Dovecot's configuration.
	ErrNotPermitted = errors.New("this user cannot read Dovecot's configuration")
)

// Protocols are those by which mail is delivered, and IMAP, whose settings decide
// who can be registered over it.
var Protocols = []string{"lmtp", "lda", "imap"}

// Run asks Dovecot for its configuration, as a whole and for each of the
// [Protocols]. file is the configuration file; empty is the default one. It
// needs permission to read it, including secrets, which stay in the Config.
func Run(ctx context.Context, file string) (*Config, error) {
	path, err := exec.LookPath("doveconf")
	if err != nil {
		return nil, ErrNotInstalled
	}
	return Ask(func(args ...string) (string, error) {
		if file != "" {
			args = append(args, "-c", file)
		}
		cmd := exec.CommandContext(ctx, path, args...)
		var complaint strings.Builder
		cmd.Stderr = &complaint
		out, err := cmd.Output()
		switch {
		case err == nil:
			return string(out), nil
		case strings.Contains(complaint.String(), "Permission denied"):
			return "", fmt.Errorf("%w: %s", ErrNotPermitted, strings.TrimSpace(complaint.String()))
		default:
			return "", fmt.Errorf("doveconf: %w: %s", err, strings.TrimSpace(complaint.String()))
		}
	})
}

// Ask reads the configuration with run, which runs doveconf with arguments and
// returns what it prints.
func Ask(run func(args ...string) (string, error)) (*Config, error) {
	text, err := run("-n", "-P")
	if err != nil {
		return nil, err
	}
	c, err := Parse(text)
	if err != nil {
		return nil, err
	}
	c.Local, c.asked = true, make(map[string]*block)
	for _, protocol := range Protocols {
		text, err := run("-n", "-P", "-f", "protocol="+protocol)
		if err != nil {
			return nil, err
		}
		effective, err := Parse(text)
		if err != nil {
			return nil, err
		}
		c.asked[protocol] = &effective.root
	}
	return c, nil
}

var releaseLine = regexp.MustCompile(`^# (\d+\.\d+[^ ]*) \(`)

// Parse reads the output of doveconf.
func Parse(text string) (*Config, error) {
	c := new(Config)
	stack := []*block{&c.root}
	lines := bufio.NewScanner(strings.NewReader(text))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		top := stack[len(stack)-1]
		switch {
		case line == "":
		case strings.HasPrefix(line, "#"):
			if found := releaseLine.FindStringSubmatch(line); found != nil && c.Release == "" {
				c.Release = found[1]
			}
		case line == "}":
			if len(stack) == 1 {
				return nil, errors.New("doveconf printed a brace that closes nothing")
			}
			stack = stack[:len(stack)-1]
		case strings.HasSuffix(line, "{") && !strings.Contains(line, " = "): // else it ends a value
			kind, name, _ := strings.Cut(strings.TrimSpace(strings.TrimSuffix(line, "{")), " ")
			b := &block{kind: kind, name: name}
			top.blocks = append(top.blocks, b)
			stack = append(stack, b)
		default:
			name, value, _ := strings.Cut(line, "=")
			top.settings = append(top.settings, setting{unquote(strings.TrimSpace(name)), unquote(strings.TrimSpace(value))})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if c.Release == "" {
		return nil, errors.New("that is not what doveconf prints: its version is missing")
	}
	return c, nil
}

func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(s[1 : len(s)-1])
}

func (b *block) get(name string) string {
	for _, s := range b.settings {
		if s.name == name {
			return s.value
		}
	}
	return ""
}

func (b *block) has(name string) bool {
	for _, s := range b.settings {
		if s.name == name {
			return true
		}
	}
	return false
}

// of returns the blocks of one kind.
func (b *block) of(kind string) []*block {
	var all []*block
	for _, in := range b.blocks {
		if in.kind == kind {
			all = append(all, in)
		}
	}
	return all
}

func isYes(value string) bool { return strings.EqualFold(value, "yes") }
