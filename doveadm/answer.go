// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadm

import (
	"encoding/json"
	"fmt"
)

// tag goes with every command and comes back with its answer.
const tag = "t"

// encode writes the one command of a request. Dovecot 2.2 and 2.3 answer
// several with broken JSON when one of them fails.
func encode(command string, parameters map[string]any) ([]byte, error) {
	if parameters == nil {
		parameters = map[string]any{}
	}
	body, err := json.Marshal([]any{[]any{command, parameters, tag}})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrUsage)
	}
	return body, nil
}

// decode reads the answer to one command: [["doveadmResponse",results,tag]] or
// [["error",{"type":…,"exitCode":…},tag]]. It returns the results.
func decode(answer []byte) (json.RawMessage, error) {
	var entries [][3]json.RawMessage
	if err := json.Unmarshal(answer, &entries); err != nil {
		return nil, fmt.Errorf("%w: %w", err, ErrUnexpected)
	}
	if len(entries) != 1 {
		return nil, fmt.Errorf("%d answers to one command: %w", len(entries), ErrUnexpected)
	}
	var kind, gotTag string
	if json.Unmarshal(entries[0][0], &kind) != nil || json.Unmarshal(entries[0][2], &gotTag) != nil || gotTag != tag {
		return nil, fmt.Errorf("the answer is to another command: %w", ErrUnexpected)
	}
	switch kind {
	case "doveadmResponse":
		return entries[0][1], nil
	case "error":
		return nil, decodeError(entries[0][1])
	}
	return nil, fmt.Errorf("the answer is neither a result nor an error: %w", ErrUnexpected)
}

// The exit codes of doveadm, which are those of sysexits.h.
const (
	exitUsage       = 64
	exitData        = 65
	exitNoUser      = 67
	exitNotFound    = 68
	exitTemporarily = 75
)

func decodeError(payload json.RawMessage) error {
	var failure struct {
		Type     string
		ExitCode int
	}
	if err := json.Unmarshal(payload, &failure); err != nil {
		return fmt.Errorf("%w: %w", err, ErrUnexpected)
	}
	switch failure.Type {
	case "exitCode":
		err := ErrFailed
		switch failure.ExitCode {
		case exitUsage:
			err = ErrUsage
		case exitData:
			err = ErrNoMetadata
		case exitNoUser:
			err = ErrUnknownUser
		case exitNotFound:
			err = ErrNotFound
		case exitTemporarily:
			err = ErrTemporary
		}
		return fmt.Errorf("exit code %d: %w", failure.ExitCode, err)
	case "unknownMethod":
		return ErrUnknownCommand
	case "invalidRequest":
		return ErrInvalidRequest
	case "unAuthorized":
		return ErrNotAllowed
	}
	return fmt.Errorf("error of type %.40q: %w", failure.Type, ErrUnexpected)
}
