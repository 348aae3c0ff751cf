// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadmtest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
)

const maxRequest = 1 << 20

// call is one command as it comes in.
type call struct {
	name       string
	parameters map[string]json.RawMessage
	tag        string
}

// readCall reads a request with one command. What comes with status 400 if it is
// none is refusal.
func readCall(r io.Reader) (c call, refusal string) {
	var commands [][]json.RawMessage
	if err := json.NewDecoder(r).Decode(&commands); err != nil {
		return c, "JSON parse error: " + err.Error()
	}
	if len(commands) != 1 || len(commands[0]) != 3 {
		return c, "JSON parse error: one command with its parameters and ID is expected"
	}
	command := commands[0]
	switch {
	case json.Unmarshal(command[0], &c.name) != nil:
		return c, "Method must be a string"
	case json.Unmarshal(command[1], &c.parameters) != nil:
		return c, "Parameters must be contained in an object"
	case json.Unmarshal(command[2], &c.tag) != nil || string(command[2]) == "null":
		return c, "Command ID must be a string"
	case strings.Contains(string(command[1]), `\u0000`):
		return c, `JSON parse error: \u0000 not supported in strings`
	}
	return c, ""
}

// syntax is a command that this Dovecot knows.
type syntax struct {
	name       string // with blanks
	parameters []string
	execute    func(*Dovecot, call) (any, int)
}

// commands by their names in the API.
var commands = map[string]syntax{
	"mailboxMetadataGet":   {"mailbox metadata get", []string{"user", "mailbox", "allowEmptyMailboxName", "key"}, (*Dovecot).metadataGet},
	"mailboxMetadataSet":   {"mailbox metadata set", []string{"user", "mailbox", "allowEmptyMailboxName", "key", "value"}, (*Dovecot).metadataSet},
	"mailboxMetadataUnset": {"mailbox metadata unset", []string{"user", "mailbox", "allowEmptyMailboxName", "key"}, (*Dovecot).metadataUnset},
	"mailboxMetadataList":  {"mailbox metadata list", []string{"user", "mailbox", "allowEmptyMailboxName", "keyPrefix"}, (*Dovecot).metadataList},
	"fetch":                {"fetch", []string{"user", "field", "query"}, (*Dovecot).fetch},
	"flagsAdd":             {"flags add", []string{"user", "flag", "query"}, (*Dovecot).flagsAdd},
	"flagsRemove":          {"flags remove", []string{"user", "flag", "query"}, (*Dovecot).flagsRemove},
	"move":                 {"move", []string{"user", "destinationMailbox", "query"}, (*Dovecot).move},
	"mailboxStatus":        {"mailbox status", []string{"user", "mailboxMask", "field"}, (*Dovecot).mailboxStatus},
	"user":                 {"user", []string{"userMask"}, (*Dovecot).user},
}

// commandList is what GET answers, without the types of the parameters.
func commandList() any {
	type parameter struct {
		Name string `json:"name"`
	}
	type command struct {
		Command    string      `json:"command"`
		Parameters []parameter `json:"parameters"`
	}
	var list []command
	for name, c := range commands {
		parameters := make([]parameter, len(c.parameters))
		for i, p := range c.parameters {
			parameters[i] = parameter{p}
		}
		list = append(list, command{name, parameters})
	}
	return list
}

// execute returns the answer to a command.
func (d *Dovecot) execute(c call) any {
	command, known := commands[c.name]
	for name, other := range commands {
		if other.name == c.name {
			command, known, c.name = other, true, name
		}
	}
	if !known {
		return failure("unknownMethod", 0, c.tag)
	}
	for parameter := range c.parameters {
		if !slices.Contains(command.parameters, parameter) {
			return failure("invalidRequest", 0, c.tag)
		}
	}
	if d.allowed != nil && !slices.Contains(d.allowed, command.name) {
		return failure("unAuthorized", 0, c.tag)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	results, exit := command.execute(d, c)
	if exit != 0 {
		return failure("exitCode", exit, c.tag)
	}
	return []any{"doveadmResponse", results, c.tag}
}

func failure(kind string, exit int, tag string) any {
	type description struct {
		Type     string `json:"type"`
		ExitCode int    `json:"exitCode"`
	}
	return []any{"error", description{kind, exit}, tag}
}

// text returns a mandatory parameter that is a string. Where Dovecot dies, this
// handler does.
func (c *call) text(parameter string) string {
	var text string
	if json.Unmarshal(c.parameters[parameter], &text) != nil {
		die()
	}
	return text
}

func (c *call) texts(parameter string) []string {
	var texts []string
	if json.Unmarshal(c.parameters[parameter], &texts) != nil {
		return []string{c.text(parameter)}
	}
	return texts
}

// die closes the connection without an answer.
func die() { panic(http.ErrAbortHandler) }
