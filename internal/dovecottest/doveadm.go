// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// MetadataKey is the server METADATA entry (RFC 5464) that makes Dovecot notify
// for a user.
const MetadataKey = "/private/vendor/vendor.dovecot/http-notify"

const doveadmTimeout = 20 * time.Second

// Register makes Dovecot notify for the user.
func (s *Server) Register(user string) error { return s.RegisterValue(user, "user="+user) }

// RegisterValue sets the user's METADATA entry to any value.
func (s *Server) RegisterValue(user, value string) error {
	parameters := entryOf(user)
	parameters["value"] = value
	return s.command("mailboxMetadataSet", parameters)
}

// Unregister removes the user's METADATA entry; it is no error if there is none.
func (s *Server) Unregister(user string) error {
	return s.command("mailboxMetadataUnset", entryOf(user))
}

func entryOf(user string) map[string]any {
	return map[string]any{"user": user, "mailbox": "", "allowEmptyMailboxName": true, "key": MetadataKey}
}

// command posts a command that has no output to the DoveAdm HTTP API.
func (s *Server) command(name string, parameters map[string]any) error {
	body, err := json.Marshal([]any{[]any{name, parameters, "t"}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), doveadmTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.DoveAdmURL(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "X-Dovecot-API "+base64.StdEncoding.EncodeToString([]byte(s.APIKey())))
	req.Header.Set("Content-Type", "application/json")
	req.Close = true // Dovecot closes the connection after every answer
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("doveadm: %s: %w", name, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("doveadm: %s: %w", name, err)
	}
	if resp.StatusCode != http.StatusOK || strings.TrimSpace(string(answer)) != `[["doveadmResponse",[],"t"]]` {
		return fmt.Errorf("doveadm: %s: %s: %s", name, resp.Status, answer)
	}
	return nil
}

// Doveadm runs the doveadm program and returns its standard output.
func (s *Server) Doveadm(args ...string) (string, error) {
	return s.run(nil, append([]string{"doveadm", "-c", s.path("dovecot.conf")}, args...)...)
}

// Save stores a message in the user's INBOX with the doveadm program, as a mail
// program does: the message is not delivered, and nobody is notified.
func (s *Server) Save(user string, message []byte) error {
	_, err := s.run(message, "doveadm", "-c", s.path("dovecot.conf"), "save", "-u", user, "-m", "INBOX")
	return err
}

// BreakMail puts a file where the user has a directory for mail and METADATA, so
// that Dovecot fails with everything that it is asked about this user, as with a
// file system that is lost.
func (s *Server) BreakMail(user string) error {
	home := s.path("homes/" + user)
	_, err := s.run(nil, "sh", "-c", `rm -rf -- "$1" && : >"$1"`, "sh", home)
	return err
}

// MendMail ends that. The user begins again, without mail.
func (s *Server) MendMail(user string) error {
	_, err := s.run(nil, "rm", "-rf", "--", s.path("homes/"+user))
	return err
}

// DeliverLDA delivers a message with the dovecot-lda program.
func (s *Server) DeliverLDA(from, to string, message []byte) error {
	_, err := s.run(message, "/usr/lib/dovecot/dovecot-lda", "-c", s.path("dovecot.conf"), "-e", "-f", from, "-d", to)
	return err
}

// run runs a program of Dovecot and returns its standard output.
func (s *Server) run(input []byte, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), lmtpTimeout)
	defer cancel()
	cmd := s.installation.command(ctx, args...)
	cmd.Stdin = bytes.NewReader(input)
	out, err := output(cmd)
	if err != nil {
		return out, fmt.Errorf("%s: %w", args[0], err)
	}
	return out, nil
}
