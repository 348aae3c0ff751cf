// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// Lookup is a text file that maps logins to other names, such as Open-Xchange's
// <id>@<context>. Each line has a login, a blank and the name. A login that
// differs in capitals only is found if Dovecot takes it for the same user.
// Empty lines and those that start with # are skipped. The file is read again
// when it has changed.
type Lookup struct {
	path      string
	canonical func(ctx context.Context, login string) (string, error)

	mu      sync.Mutex
	values  map[string]string
	folded  map[string]string // logins by those in lower case, empty if several differ in nothing else
	size    int64
	changed time.Time
}

// NewLookup reads the file.
func NewLookup(path string) (*Lookup, error) {
	l := &Lookup{path: path, canonical: new(username.Names).Canonical}
	if err := l.refresh(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Lookup) find(user string) (string, error) {
	value, login, err := l.get(user)
	if err == nil && value == "" && login != "" {
		// It is the same user only if Dovecot says so.
		if name, cerr := l.canonical(context.Background(), login); cerr == nil && name == user {
			value, _, err = l.get(login)
		}
	}
	if err == nil && value == "" {
		err = fmt.Errorf("%w: the login is not in %s", errNoValue, l.path)
	}
	return value, err
}

// get returns the value of a user, or else the login that differs from the
// user's in capitals only, if there is one.
func (l *Lookup) get(user string) (value, login string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refresh(); err != nil && l.values == nil {
		return "", "", fmt.Errorf("%w: %w", errNoValue, err)
	} // else what was read last is better than nothing
	return l.values[user], l.folded[username.Fold(user)], nil
}

// refresh reads the file if it is not the one that was read last. l.mu is held,
// or nobody else has l.
func (l *Lookup) refresh() error {
	info, err := os.Stat(l.path)
	if err != nil {
		return fmt.Errorf("lookup file: %w", err)
	}
	if l.values != nil && info.Size() == l.size && info.ModTime().Equal(l.changed) {
		return nil
	}
	file, err := os.Open(l.path)
	if err != nil {
		return fmt.Errorf("lookup file: %w", err)
	}
	defer file.Close()
	values, folded := make(map[string]string), make(map[string]string)
	lines := bufio.NewScanner(file)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) != 2 {
			return fmt.Errorf("lookup file: line %d of %s is not a login, a blank and a value", number, l.path)
		}
		values[fields[0]] = fields[1]
		key, login := username.Fold(fields[0]), fields[0]
		if other, ok := folded[key]; ok && other != login {
			login = ""
		}
		folded[key] = login
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("lookup file: %w", err)
	}
	l.values, l.folded, l.size, l.changed = values, folded, info.Size(), info.ModTime()
	return nil
}
