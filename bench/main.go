// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the module costs and what it can do, side by
// side with its alternatives in one run, so that the ratios hold on whatever
// machine it runs. "make bench" runs all parts and prints what RESULTS.md
// holds; README.md tells more.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

var (
	binary   = flag.String("caddy", "bin/caddy", "the caddy to measure")
	only     = flag.String("only", "", "comma-separated names of the parts to run; all if empty")
	list     = flag.Bool("list", false, "print the names of the parts, and run none")
	duration = flag.Duration("duration", 3*time.Second, "length of one measurement, where it has no other end")
	rounds   = flag.Int("rounds", 5, "how often each is repeated; medians are printed")
	profiles = flag.String("profiles", "", "a directory for a processor profile of each server, taken in a further round")
)

// part is one question that is answered on its own, with servers of its own.
// To add one, write it into a file of its name and put it into the list.
type part struct {
	name  string
	title string
	run   func(*bench) error
}

var parts = []part{
	{"disk", "An fsync on this machine", (*bench).disk},
	{"accept", "Accepting, 32 connections", (*bench).accept},
	{"connections", "Accepting with `sync always`, by connections", (*bench).connections},
	{"slowdisk", "Accepting on a disk that takes 5 ms for a sync, by connections (as root)", (*bench).slowDisk},
	{"waiting", "Accepting while many notifications wait", (*bench).waiting},
	{"endtoend", "Accepted until a webhook has answered, `sync always`", (*bench).endtoend},
	{"everyday", "At the rates of every day, accepted until a webhook has answered", (*bench).everyday},
	{"isolation", "A webhook beside one that never answers", (*bench).isolation},
	{"drain", "A webhook that comes back to many waiting notifications", (*bench).drain},
	{"flat", "Memory while notifications come and go", (*bench).flat},
	{"lmtp", "Mails of a real Dovecot", (*bench).lmtp},
	{"rest", "The idle process", (*bench).rest},
	{"streams", "Event streams", (*bench).streams},
	{"loginflood", "The endpoint while wrong logins flood the API", (*bench).loginFlood},
	{"credentialflood", "The endpoint while wrong passwords flood it", (*bench).credentialFlood},
	{"registration", "Registering users with a real Dovecot", (*bench).registration},
	{"catchup", "Comparing mailboxes with what was reported", (*bench).catchUp},
	{"apns", "An app on Apple's devices, with an APNs on this machine", (*bench).apns},
	{"fcm", "An app on Android, with an FCM on this machine", (*bench).fcm},
	{"webpush", "Web Push to a push service on this machine", (*bench).webpush},
}

func main() {
	flag.Parse()
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	if *backend != "" {
		return beBackend(*backend)
	}
	chosen, err := choose(*only)
	if err != nil {
		return err
	}
	if *list {
		for _, p := range chosen {
			fmt.Printf("%-14s%s\n", p.name, p.title)
		}
		return nil
	}
	path, err := filepath.Abs(*binary)
	if err != nil {
		return err
	}
	var failed error
	for _, p := range chosen {
		if err := p.on(path); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	return failed
}

// choose finds the parts by their names, in the order of the list.
func choose(names string) ([]part, error) {
	if names == "" {
		return parts, nil
	}
	var chosen []part
	wanted := strings.Split(names, ",")
	for _, p := range parts {
		if i := slices.Index(wanted, p.name); i >= 0 {
			chosen = append(chosen, p)
			wanted = slices.Delete(wanted, i, i+1)
		}
	}
	if len(wanted) > 0 {
		return nil, fmt.Errorf("no part has the name %q; -list tells which there are", wanted[0])
	}
	return chosen, nil
}

func (p part) on(binary string) error {
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{binary: binary, dir: dir}
	defer b.close()
	fmt.Printf("\n## %s\n\n", p.title)
	begin := time.Now()
	err = p.run(b)
	fmt.Fprintf(os.Stderr, "(%s took %v)\n", p.name, time.Since(begin).Round(time.Second))
	return err
}
