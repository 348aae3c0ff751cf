// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
	"github.com/dovecotpush/caddy-dovecot-push/internal/dovecottest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
	"github.com/dovecotpush/caddy-dovecot-push/internal/registration"
)

var registrationUsers = flag.Int("registration-users", 2000, "how many users the part registration registers")

const (
	// registrationLoop is how many users the shell loop registers: its rate
	// does not depend on the number.
	registrationLoop = 100
	// notThere ends a pass that does not.
	notThere = 10 * time.Minute
)

// registration compares a pass that registers everybody with as many raw
// requests, with a shell loop, and with a pass that finds nothing to do.
func (b *bench) registration() error {
	users := make([]dovecottest.User, *registrationUsers)
	for i := range users {
		users[i] = dovecottest.User{Name: fmt.Sprintf("user%04d@example.com", i), Password: "pass"}
	}
	dovecot, err := dovecottest.New(context.Background(), dovecottest.Config{Version: dovecottest.V23, Users: users, NoDebugLog: true})
	if err != nil {
		return err
	}
	b.closers = append(b.closers, dovecot)
	client, err := doveadm.New(doveadm.Config{Endpoints: []string{dovecot.DoveAdmURL()}, APISecret: dovecot.APIKey()})
	if err != nil {
		return err
	}
	defer client.Close()
	unset := func() error { return client.MetadataUnsetMask(context.Background(), "*", registration.Entry) }

	store := "" // of the last pass that registered everybody
	raw := &contender{name: "raw requests, as many at a time", measure: func() (result, error) {
		if err := unset(); err != nil {
			return result{}, err
		}
		return rawRegistrations(dovecot)
	}}
	full := &contender{name: "a pass that registers everybody", measure: func() (result, error) {
		if err := unset(); err != nil {
			return result{}, err
		}
		if store, err = os.MkdirTemp(b.dir, "registration"); err != nil {
			return result{}, err
		}
		return pass(client, store, len(users), len(users))
	}}
	nothing := &contender{name: "a pass that finds nothing to do", measure: func() (result, error) {
		return pass(client, store, len(users), 0)
	}}
	loop := &contender{name: "shell loop of doveadm mailbox metadata set", measure: func() (result, error) {
		return shellLoop(dovecot)
	}}
	if err := compare("users/s", raw, full, nothing, loop); err != nil {
		return err
	}
	judge(
		ratio{"registering: a pass to raw requests", full, raw, result.rate, atLeast(0.9)},
		ratio{"registering: a pass to a shell loop", full, loop, result.rate, atLeast(2)},
		ratio{"nothing to do to registering everybody", nothing, full, result.rate, atLeast(20)},
	)
	return nil
}

// pass makes one pass with "register all", and makes sure of what it did.
func pass(client *doveadm.Client, dir string, users, registered int) (result, error) {
	q, err := queue.Open(context.Background(), queue.Config{
		Embedded: &queue.Embedded{Path: dir}, MaxBytes: 1 << 30, MaxAge: time.Hour, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return result{}, err
	}
	defer q.Close()
	r, err := registration.New(registration.Config{
		Registrar: registration.NewDoveAdm(client), Table: q.Table("registrations"), Exclusive: true,
		Policy: registration.All,
		// Other settings than before make a pass begin at once.
		Takeover: registered == 0,
		Logger:   slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return result{}, err
	}
	start := time.Now()
	r.Start()
	defer r.Stop()
	for time.Since(start) < notThere {
		pass := r.Status().Pass
		if pass == nil || pass.Ended.IsZero() {
			time.Sleep(time.Millisecond)
			continue
		}
		if pass.Err != nil || pass.Done != users || int(pass.Registered) != registered {
			return result{}, fmt.Errorf("the pass registered %d and looked at %d of %d users: %w", pass.Registered, pass.Done, users, errors.Join(pass.Err))
		}
		return result{requests: int64(users), took: pass.Ended.Sub(start)}, nil
	}
	return result{}, errors.New("the pass did not end")
}

// rawRegistrations posts the commands without the connector.
func rawRegistrations(dovecot *dovecottest.Server) (result, error) {
	var mu sync.Mutex
	var failed error
	jobs := make(chan string)
	var wg sync.WaitGroup
	start := time.Now()
	for range registration.DefaultConcurrency {
		wg.Go(func() {
			for user := range jobs {
				if err := rawRegistration(dovecot, user); err != nil {
					mu.Lock()
					failed = errors.Join(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	for _, user := range dovecot.Users() {
		jobs <- user.Name
	}
	close(jobs)
	wg.Wait()
	return result{requests: int64(len(dovecot.Users())), took: time.Since(start)}, failed
}

func rawRegistration(dovecot *dovecottest.Server, user string) error {
	body, err := json.Marshal([]any{[]any{"mailboxMetadataSet", map[string]any{
		"user": user, "mailbox": "", "allowEmptyMailboxName": true, "key": registration.Entry, "value": "user=" + user,
	}, "t"}})
	if err != nil {
		return err
	}
	r, err := http.NewRequest(http.MethodPost, dovecot.DoveAdmURL(), bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "X-Dovecot-API "+base64.StdEncoding.EncodeToString([]byte(dovecot.APIKey())))
	r.Close = true
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && !strings.Contains(string(answer), `"doveadmResponse"`) {
		err = fmt.Errorf("doveadm: %s", answer)
	}
	return err
}

// shellLoop is what operators do without all this.
func shellLoop(dovecot *dovecottest.Server) (result, error) {
	users := dovecot.Users()[:min(registrationLoop, len(dovecot.Users()))]
	start := time.Now()
	for _, user := range users {
		value := "user=" + user.Name + "\tby=caddy-dovecot-push"
		if _, err := dovecot.Doveadm("mailbox", "metadata", "set", "-u", user.Name, "-s", "", registration.Entry, value); err != nil {
			return result{}, err
		}
	}
	return result{requests: int64(len(users)), took: time.Since(start)}, nil
}
