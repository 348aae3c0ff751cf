// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// syncer brings what others wrote to the disk.
//
// With an interval the server syncs the messages of each stream now and then,
// and its other files never. Four things cannot wait, because something that
// may reach the disk before them relies on them:
//
//   - parked records and dead letters: the groups they came in are
//     acknowledged after them, however long ago those were accepted;
//   - the entries of a [Log]: their numbers are told to others before somebody
//     comes back with one;
//   - the settings of streams and consumers, which are written once: a
//     consumer whose settings were lost is not found when the store is opened;
//   - the directories that all of this is in.
type syncer struct {
	mu     sync.Mutex
	synced map[string]fileState
}

type fileState struct {
	size     int64
	modified time.Time
}

// persist syncs what changed below directory since the last time. It leaves
// out the index and the positions, which are made again or may be old.
func (s *syncer) persist(directory string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.synced == nil {
		s.synced = make(map[string]fileState)
	}
	return filepath.WalkDir(directory, func(path string, entry fs.DirEntry, err error) error {
		switch name := filepath.Base(path); {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case !entry.IsDir() && !strings.HasSuffix(name, blockSuffix) && name != settingsFile && name != settingsSum:
			return nil
		}
		if err := s.file(path); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
}

func (s *syncer) file(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	// Before the sync: what is written during it counts as new.
	state := fileState{info.Size(), info.ModTime()}
	if s.synced[path] == state {
		return nil
	}
	if err := f.Sync(); err != nil {
		return err
	}
	s.synced[path] = state
	return nil
}
