// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// maxTable bounds a file of values.
const maxTable = 16 << 20

// tableError is why a file of values cannot be used. It holds nothing of a mail.
type tableError struct{ error }

// tables are the files that templates look values up in: a line for each, the
// key, white space and the value. Keys are logins, so their case does not matter. A
// file is read again when it has changed.
type tables struct {
	mu    sync.Mutex
	files map[string]*table
}

type table struct {
	modified time.Time
	size     int64
	values   map[string]string
}

// lookup returns the value of a key, or nothing. A file that cannot be read any
// more keeps the values that it had.
func (t *tables) lookup(path, key string) (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key = strings.ToLower(key)
	known := t.files[path]
	info, err := os.Stat(path)
	if err == nil && known != nil && known.modified.Equal(info.ModTime()) && known.size == info.Size() {
		return known.values[key], nil
	}
	read, err := readTable(path)
	switch {
	case err == nil:
		if t.files == nil {
			t.files = make(map[string]*table)
		}
		t.files[path] = read
		return read.values[key], nil
	case known != nil:
		return known.values[key], nil
	default:
		return "", tableError{fmt.Errorf("lookup: %w", err)}
	}
}

func readTable(path string) (*table, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(file, maxTable+1))
	switch {
	case err != nil:
		return nil, err
	case len(content) > maxTable:
		return nil, fmt.Errorf("%s is longer than %d bytes", path, maxTable)
	}
	t := &table{modified: info.ModTime(), size: info.Size(), values: make(map[string]string)}
	lines := bufio.NewScanner(bytes.NewReader(content))
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		space := strings.IndexAny(line, " \t")
		if space < 0 {
			return nil, fmt.Errorf("%s: line %d has no value", path, number)
		}
		t.values[strings.ToLower(line[:space])] = strings.TrimSpace(line[space:])
	}
	return t, lines.Err()
}
