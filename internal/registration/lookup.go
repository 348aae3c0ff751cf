// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// Lookup is a text file that has for each login what stands for it elsewhere,
// such as <id>@<context> of Open-Xchange: a line for each, with the login, a
// blank and the other. Empty lines and those that begin with # are left out. The
// file is read anew when it has changed.
type Lookup struct {
	path string

	mu      sync.Mutex
	values  map[string]string
	size    int64
	changed time.Time
}

// NewLookup reads the file.
func NewLookup(path string) (*Lookup, error) {
	l := &Lookup{path: path}
	if err := l.refresh(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Lookup) find(user string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refresh(); err != nil && l.values == nil {
		return "", fmt.Errorf("%w: %w", ErrTemporary, err)
	} // else what was read last is better than nothing
	value, ok := l.values[user]
	if !ok {
		return "", fmt.Errorf("%w: the login is not in %s", errNoValue, l.path)
	}
	return value, nil
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
	values := make(map[string]string)
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
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("lookup file: %w", err)
	}
	l.values, l.size, l.changed = values, info.Size(), info.ModTime()
	return nil
}
