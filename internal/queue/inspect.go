// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/minio/highwayhash"
	"github.com/nats-io/nats-server/v2/server"
)

// The files of the embedded server.
const (
	blockSuffix   = ".blk"
	settingsFile  = "meta.inf"
	settingsSum   = "meta.sum"
	positionFile  = "o.dat"
	indexFile     = "index.db"
	messagesDir   = "msgs"
	consumersDir  = "obs"
	damagedDir    = "damaged"
	damagedFormat = "20060102T150405.000000000Z"
	pageSize      = 4 << 10
)

// inspection looks at the files of a store before the server opens them.
//
// The server cuts a block of messages off at the first record that it cannot
// read, does not find a stream or consumer whose settings are damaged, and
// does not open a consumer whose position is. Here such a file is set aside,
// in the directory "damaged" of the queue, and what is intact stays.
type inspection struct {
	queue  string // the directory of the queue
	aside  string // where what is damaged goes
	log    *slog.Logger
	damage *damage
}

// inspect returns an error if the disk cannot be read or written; nothing that
// is in a file is one.
func (e *embeddedServer) inspect() error {
	queue := filepath.Dir(e.lock.Path())
	i := &inspection{
		queue: queue, log: e.log, damage: e.damage,
		aside: filepath.Join(queue, damagedDir, time.Now().UTC().Format(damagedFormat)),
	}
	streams, err := os.ReadDir(e.streams())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range streams {
		if !entry.IsDir() || strings.HasPrefix(entry.Name(), ".") {
			continue
		}
		if err := i.stream(filepath.Join(e.streams(), entry.Name()), entry.Name()); err != nil {
			return fmt.Errorf("inspecting the stream %s: %w", entry.Name(), err)
		}
	}
	return nil
}

func (i *inspection) stream(directory, name string) error {
	err := i.settings(directory, name, func(data []byte) bool {
		var info server.FileStreamInfo
		return strictly(data, &info) && info.Name == name && info.Storage == server.FileStorage
	})
	if err != nil {
		return err
	}
	consumers, err := os.ReadDir(filepath.Join(directory, consumersDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	had, known := reached{floor: ^uint64(0)}, false
	for _, entry := range consumers {
		if !entry.IsDir() {
			continue
		}
		consumer := filepath.Join(directory, consumersDir, entry.Name())
		err := i.settings(consumer, name+"/"+entry.Name(), func(data []byte) bool {
			var info server.FileConsumerInfo
			return strictly(data, &info) && info.Name == entry.Name() && info.Durable == entry.Name()
		})
		if err != nil {
			return err
		}
		floor, last, err := i.position(filepath.Join(consumer, positionFile))
		if err != nil {
			return err
		}
		had, known = reached{min(had.floor, floor), max(had.last, last)}, true
	}
	if !known {
		had.floor = 0
	}
	if strings.HasSuffix(name, parkedSuffix) {
		had = reached{} // what was acknowledged is removed, and each consumer has its own
	}
	return i.blocks(directory, name, had)
}

// reached is how far the consumers of a stream are: the number up to which all
// of them have everything, and the last one that was delivered to any.
type reached struct{ floor, last uint64 }

// strictly reports whether data is what the server reads into v.
func strictly(data []byte, v any) bool {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	return decoder.Decode(v) == nil
}

// settings checks those of a stream or a consumer. Where they and their
// checksum differ and both can be read, the server was interrupted between
// writing the one and the other.
func (i *inspection) settings(directory, key string, good func([]byte) bool) error {
	file, sumFile := filepath.Join(directory, settingsFile), filepath.Join(directory, settingsSum)
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it is made again
	}
	sum, sumErr := os.ReadFile(sumFile)
	hashKey := sha256.Sum256([]byte(key))
	hash, hashErr := highwayhash.NewDigest64(hashKey[:])
	if hashErr != nil {
		return hashErr
	}
	_, _ = hash.Write(data)
	want := hex.EncodeToString(hash.Sum(nil))
	switch {
	case err == nil && sumErr == nil && string(sum) == want:
		return nil
	case err == nil && good(data):
		i.log.Warn("the settings of a part of the queue and their checksum did not fit: the checksum is made again", "file", sumFile)
		return writeFile(sumFile, []byte(want))
	}
	if err := i.quarantine(file, "it is made again, and everything stored is kept"); err != nil {
		return err
	}
	return os.Remove(sumFile)
}

// position checks the one of a consumer, and returns what [readPosition] does.
func (i *inspection) position(file string) (floor, last uint64, err error) {
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil
	}
	if err == nil {
		if floor, last, err = readPosition(data); err == nil {
			return floor, last, nil
		}
	}
	return 0, 0, i.quarantine(file, "its target gets everything that is kept, also what it had")
}

// quarantine moves a file out of the way.
func (i *inspection) quarantine(file, consequence string) error {
	kept, err := i.place(file)
	if err == nil {
		err = os.Rename(file, kept)
	}
	if err != nil {
		return fmt.Errorf("setting aside a damaged file: %w", err)
	}
	i.report(file, kept, consequence)
	return syncDirectory(filepath.Dir(file))
}

func (i *inspection) report(file, kept, consequence string, more ...any) {
	i.damage.files.Add(1)
	i.log.Error("a file of the queue is damaged and was set aside: look after the disk, and delete the copy when nobody needs it: "+consequence,
		append([]any{"file", file, "kept_as", kept}, more...)...)
}

// place is where a file goes that is set aside.
func (i *inspection) place(file string) (string, error) {
	name, err := filepath.Rel(i.queue, file)
	if err != nil {
		return "", err
	}
	place := filepath.Join(i.aside, name)
	return place, os.MkdirAll(filepath.Dir(place), 0o700)
}

// blocks checks the messages of a stream.
func (i *inspection) blocks(directory, stream string, had reached) error {
	messages := filepath.Join(directory, messagesDir)
	indices, err := blockIndices(messages)
	if err != nil {
		return err
	}
	// Only that of accepted notifications has one of parked ones beside it.
	_, err = os.Stat(directory + parkedSuffix)
	count := lossCount{dense: err == nil, floor: had.floor, removed: make(map[uint64]struct{})}
	var (
		damaged []string
		last    uint64
	)
	for n, index := range indices {
		file := filepath.Join(messages, strconv.Itoa(index)+blockSuffix)
		data, unreadable, err := readBadly(file)
		if err != nil {
			return err
		}
		if bytes.HasPrefix(data, compressedBlock) {
			continue
		}
		sum, err := blockHash(stream, index)
		if err != nil {
			return err
		}
		b := readBlock(data, sum)
		if b.incomplete && n == len(indices)-1 {
			// The last write, which was not accepted. The server removes what
			// there is of it.
			b.bad = b.bad[:len(b.bad)-1]
		}
		count.add(&b, data, last)
		if last = max(last, b.last); len(b.bad) == 0 && !unreadable {
			continue
		}
		kept, err := i.repair(file, b.kept(data))
		if err != nil {
			return err
		}
		i.report(file, kept, "everything in it that can be read is delivered")
		damaged = append(damaged, file)
	}
	index := filepath.Join(messages, indexFile)
	data, err := os.ReadFile(index)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		data = nil // the server makes it again
	}
	if lost, notifications := count.lost(last, i.end(stream, had, data)); notifications > 0 {
		i.damage.lost.Add(notifications)
		i.log.Error("messages of the queue that were stored cannot be read any more", "stream", stream,
			"lost_messages", lost, "lost_notifications", notifications)
	}
	if len(damaged) == 0 {
		return nil
	}
	// It tells of messages that are no more.
	if err := os.Remove(index); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDirectory(messages)
}

// end is the number of the last message that is known to have been stored, or 0.
func (i *inspection) end(stream string, had reached, index []byte) uint64 {
	if strings.HasSuffix(stream, parkedSuffix) {
		return 0 // it may have been removed since
	}
	return max(had.last, readIndex(index, stream))
}

func blockIndices(messages string) (indices []int, err error) {
	entries, err := os.ReadDir(messages)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, entry := range entries {
		name, isBlock := strings.CutSuffix(entry.Name(), blockSuffix)
		if index, err := strconv.Atoi(name); isBlock && err == nil {
			indices = append(indices, index)
		}
	}
	slices.Sort(indices)
	return indices, nil
}

// readBadly reads a file as far as the disk gives it, with zeros for the rest.
func readBadly(file string) (data []byte, unreadable bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, false, err
	}
	data = make([]byte, info.Size())
	if _, err := f.ReadAt(data, 0); err == nil || errors.Is(err, io.EOF) {
		return data, false, nil
	}
	for at := 0; at < len(data); at += pageSize {
		page := data[at:min(at+pageSize, len(data))]
		if _, err := f.ReadAt(page, int64(at)); err != nil && !errors.Is(err, io.EOF) {
			clear(page)
			unreadable = true
		}
	}
	return data, unreadable, nil
}

// repair keeps a block as it is, and replaces it by what can be read of it.
func (i *inspection) repair(file string, data []byte) (kept string, err error) {
	if kept, err = i.place(file); err != nil {
		return "", err
	}
	repaired := file + ".repaired"
	if err := writeFile(repaired, data); err != nil {
		return "", errors.Join(err, os.Remove(repaired))
	}
	if os.Link(file, kept) != nil { // not every file system has links
		if err := os.Rename(file, kept); err != nil {
			return "", err
		}
	}
	if err := syncDirectory(filepath.Dir(kept)); err != nil {
		return "", err
	}
	return kept, os.Rename(repaired, file)
}

// writeFile writes a file and syncs it.
func writeFile(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDirectory(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
