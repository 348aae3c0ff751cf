// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/printable"
)

// client is what a sub-command asks the running Caddy with.
type client struct {
	address string
	// json tells that the answers are for programs.
	json bool
	// out is what people or programs read: nothing that others chose, such as
	// the sender of a mail, controls their terminal.
	out io.Writer
	// screen is where out leads to if that is a terminal, else nil.
	screen *os.File
}

// errNotRunning is what commands end with when there is no Caddy to ask.
var errNotRunning = errors.New("cannot reach the admin API of Caddy (is it running, and is this its address?)")

// newClient finds out which Caddy to ask.
func newClient(cmd *cobra.Command) (*client, error) {
	flags := cmd.Flags()
	address, _ := flags.GetString("address")
	config, _ := flags.GetString("config")
	adapter, _ := flags.GetString("adapter")
	address, err := caddycmd.DetermineAdminAPIAddress(address, nil, config, adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the address of the admin API: %w", err)
	}
	out := cmd.OutOrStdout()
	c := &client{address: address, out: printable.NewWriter(out)}
	if file, ok := out.(*os.File); ok && isTerminal(file) {
		c.screen = file
	}
	c.json, _ = flags.GetBool("json")
	return c, nil
}

// call asks the admin API: path is without its prefix, body, if not nil, is
// sent as JSON, and the answer is read into answer, if that is not nil.
func (c *client) call(method, path string, body, answer any) error {
	resp, err := c.request(method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil || resp.StatusCode == http.StatusNoContent {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading the answer of the admin API: %w", err)
	}
	return nil
}

// callLines is call for an answer of several JSON values, each of which is given
// to line when it comes.
func (c *client) callLines(method, path string, body any, line func(json.RawMessage) error) error {
	resp, err := c.request(method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for dec := json.NewDecoder(resp.Body); ; {
		var value json.RawMessage
		err := dec.Decode(&value)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading the answer of the admin API: %w", err)
		}
		if err := line(value); err != nil {
			return err
		}
	}
}

// ask sends a request without a body to any path of Caddy's admin API.
func (c *client) ask(method, path string, answer any) error {
	resp, err := adminRequest(c.address, method, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("reading the answer of the admin API: %w", err)
	}
	return nil
}

func (c *client) request(method, path string, body any) (*http.Response, error) {
	var send io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		send = bytes.NewReader(encoded)
	}
	return adminRequest(c.address, method, adminapi.Prefix+path, send)
}

// adminRequest tells a Caddy that refuses from one that is not there.
// [caddycmd.AdminAPIRequest] does so in words only.
func adminRequest(address, method, path string, body io.Reader) (*http.Response, error) {
	resp, err := caddycmd.AdminAPIRequest(address, method, path, nil, body)
	if err == nil {
		return resp, nil
	}
	_, answer, answered := strings.Cut(err.Error(), "caddy responded with error: ")
	if !answered {
		return nil, fmt.Errorf("%w: %s: %w", errNotRunning, address, err)
	}
	var refusal struct {
		Error string `json:"error"`
	}
	if _, text, _ := strings.Cut(answer, ": "); json.Unmarshal([]byte(text), &refusal) == nil && refusal.Error != "" {
		return nil, errors.New(printable.Text(refusal.Error))
	}
	return nil, fmt.Errorf("the admin API of Caddy at %s answers %s", address, printable.Text(strings.TrimSpace(answer)))
}

// printJSON prints value for programs.
func (c *client) printJSON(value any) error {
	enc := json.NewEncoder(c.out)
	enc.SetIndent("", "  ")
	return enc.Encode(value)
}

// isTerminal reports whether people look at f.
func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
