// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo shows the whole way on one machine: a throw-away Dovecot with
// one user, a Caddy with the page for people, and a mail every few seconds.
// "make demo" runs it; Ctrl-C ends it and leaves nothing behind.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	_ "embed"

	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/freeport"
)

// The one who gets the mails.
const (
	user     = "alice@example.com"
	password = "wonderland"
)

//go:embed Caddyfile
var caddyfile string

func main() {
	var d demo
	flag.StringVar(&d.binary, "caddy", "bin/caddy", "the caddy to show")
	flag.IntVar(&d.port, "port", 8400, "the port of the page")
	flag.DurationVar(&d.every, "every", 5*time.Second, "how often a mail comes")
	flag.IntVar(&d.mails, "mails", 0, "end after so many mails; 0 for never")
	flag.Parse()
	d.out = os.Stdout
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := d.run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

type demo struct {
	binary string
	port   int
	every  time.Duration
	mails  int
	out    io.Writer
}

func (d *demo) run(ctx context.Context) (err error) {
	binary, err := filepath.Abs(d.binary)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "dovecot-push-demo")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	notify, err := freeport.Address()
	if err != nil {
		return err
	}
	fmt.Fprintln(d.out, "Starting a Dovecot …")
	dovecot, err := dovecottest.New(ctx, dovecottest.Config{
		Users:   []dovecottest.User{{Name: user, Password: password}},
		Drivers: []dovecottest.Driver{{URL: "http://dovecot:demo@" + notify + "/preliminary/http-notify/v1/notify", Timeout: time.Second, MaxAttempts: 2}},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dovecot.Close()) }()

	fmt.Fprintln(d.out, "Starting Caddy …")
	caddy, err := caddytestkit.Prepare(binary, dir, "NOTIFY_PASSWORD=demo", "DOVEADM_API_SECRET="+dovecot.APIKey())
	if err != nil {
		return err
	}
	defer caddy.Stop()
	page := "http://localhost:" + strconv.Itoa(d.port)
	config := strings.NewReplacer("{page}", page, "{notify}", notify, "{imap}", dovecot.IMAPAddr(), "{doveadm}", dovecot.DoveAdmURL()).Replace(caddyfile)
	if err := caddy.Run(config); err != nil {
		return fmt.Errorf("starting Caddy: %w\n%s", err, caddy.Log())
	}
	fmt.Fprintf(d.out, `
  The page       %s/push/
  sign in as     %s
  password       %s

  admin API      %s
                 bin/caddy dovecot-push status --watch --address %s
  Dovecot        %s, IMAP %s, LMTP %s

A mail comes every %s, and shows up on the page. Ctrl-C ends all of it.

`, page, user, password, caddy.Admin, caddy.Admin, dovecot.Release(), dovecot.IMAPAddr(), dovecot.LMTPAddr(), d.every)
	return d.deliver(ctx, dovecot)
}

// letters are what comes, one after the other.
var letters = []struct{ from, subject, text string }{
	{"Bob Example <bob@example.net>", "Lunch on Friday?", "The new place at the corner has a table for us at noon."},
	{"=?utf-8?Q?J=C3=BCrgen_Beispiel?= <juergen@example.org>", "=?utf-8?Q?Gr=C3=BC=C3=9Fe_aus_M=C3=BCnchen?=", "Das Wetter ist besser als angesagt."},
	{"Build <build@example.com>", "Build 4711 passed", "All 1,204 tests passed in 6 minutes."},
	{"Carol Example <carol@example.net>", "Minutes of the meeting", "Please have a look before Monday."},
}

func (d *demo) deliver(ctx context.Context, dovecot *dovecottest.Server) error {
	tick := time.NewTicker(d.every)
	defer tick.Stop()
	for n := 0; d.mails == 0 || n < d.mails; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		l := letters[n%len(letters)]
		mail := fmt.Sprintf("From: %s\r\nTo: <%s>\r\nSubject: %s\r\n\r\n%s\r\n", l.from, user, l.subject, l.text)
		took, err := dovecot.Deliver("bob@example.net", []string{user}, []byte(mail))
		if err != nil {
			return err
		}
		fmt.Fprintf(d.out, "%s  mail %d was delivered in %s\n", time.Now().Format(time.TimeOnly), n+1, took.Round(time.Millisecond))
	}
	return nil
}
