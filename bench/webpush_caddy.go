// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/pushtest"
)

const (
	// Each of the users has as many devices; a mail is a message to each.
	devicesEach = 10
	// pushMails are reported in one measurement, each of a folder of its own:
	// devices are notified of those of one folder together.
	pushMails = 1000
)

// pushFolder makes every folder another one.
var pushFolder atomic.Uint32

// webpushOfCaddy measures the whole way: mails are reported to a Caddy, whose
// queue, engine and target send a message to each device of their users.
func (b *bench) webpushOfCaddy() error {
	service := pushtest.New()
	defer service.Close()
	s, err := b.pushingTo(service)
	if err != nil {
		return err
	}
	through := &contender{name: "from the report to the last device", server: s, measure: func() (result, error) {
		return pushMany(s.address, service)
	}}
	if err := compare("messages/s", through); err != nil {
		return err
	}
	wanted, rate := atLeast(5000), through.median(result.rate)
	fmt.Printf("\n%.0f messages/s through Caddy (wanted: %v), %s.\n\n", rate, wanted, wanted.verdict(rate))
	return nil
}

// pushingTo starts a Caddy whose users have devices at the service.
func (b *bench) pushingTo(service *pushtest.Service) (*server, error) {
	caddyfile, err := streaming()
	if err != nil {
		return nil, err
	}
	ca := filepath.Join(b.dir, "push-ca.pem")
	if err := os.WriteFile(ca, service.CA(), 0o600); err != nil {
		return nil, err
	}
	caddyfile = strings.Replace(caddyfile, "dovecot_push {\n",
		"dovecot_push {\ndeliver webpush {\ncontact postmaster@example.com\nallow_endpoints "+service.Origin+"\n}\n", 1)
	s, err := b.caddy(b.binary, caddyfile, "SSL_CERT_FILE="+ca)
	if err != nil {
		return nil, err
	}
	api := &pushAPI{s.address}
	var config struct{ ApplicationServerKey string }
	if err := api.call(http.MethodGet, "config", 0, "", &config); err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	failures := make(chan error, streamUsers)
	for user := range streamUsers {
		wg.Go(func() {
			for range devicesEach {
				if err := api.subscribe(service, config.ApplicationServerKey, user); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(failures)
	service.Discard.Store(true)
	return s, <-failures
}

// pushAPI is the API for users of a Caddy.
type pushAPI struct{ address string }

// subscribe gives a user a device that confirms itself.
func (a *pushAPI) subscribe(service *pushtest.Service, serverKey string, user int) error {
	device, err := service.NewDevice(serverKey)
	if err != nil {
		return err
	}
	var made struct{ ID string }
	if err := a.call(http.MethodPost, "subscriptions", user, device.JSON(map[string]any{"name": "Phone"}), &made); err != nil {
		return err
	}
	messages, err := device.Messages()
	if err != nil || len(messages) == 0 {
		return errors.Join(errors.New("no code has come"), err)
	}
	var code struct {
		Code string `json:"verificationCode"`
	}
	if err := json.Unmarshal(messages[0].Plain, &code); err != nil {
		return err
	}
	body, err := json.Marshal(code)
	if err != nil {
		return err
	}
	return a.call(http.MethodPatch, "subscriptions/"+made.ID, user, string(body), nil)
}

func (a *pushAPI) call(method, path string, user int, body string, answer any) error {
	r, err := http.NewRequest(method, "http://"+a.address+"/push/api/"+path, strings.NewReader(body))
	if err != nil {
		return err
	}
	r.SetBasicAuth(streamUser(user), password)
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, text)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// pushMany reports mails, and waits until all devices have been notified of
// them.
func pushMany(address string, service *pushtest.Service) (result, error) {
	before, begin := service.Posts(), time.Now()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: front}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	failures := make(chan error, front)
	for range front {
		go func() {
			var err error
			for i := next.Add(1); i <= pushMails && err == nil; i = next.Add(1) {
				err = report(client, address, fmt.Sprintf(`{"user":%q,"event":"messageNew","folder":"List %d","imap-uidvalidity":1795452971,"imap-uid":1,`+
					`"from":"Alice Example <alice@example.net>","subject":"Minutes of the meeting on Tuesday","snippet":"Hello","unseen":3}`,
					streamUser(int(i)), pushFolder.Add(1)))
			}
			failures <- err
		}()
	}
	var failed error
	for range front {
		failed = errors.Join(failed, <-failures)
	}
	r := result{requests: pushMails * devicesEach}
	for failed == nil {
		if int64(service.Posts()-before) >= r.requests {
			r.took = time.Since(begin)
			return r, nil
		}
		if time.Since(begin) > time.Minute {
			return r, fmt.Errorf("of %d messages %d came within a minute", r.requests, service.Posts()-before)
		}
		time.Sleep(time.Millisecond)
	}
	return r, failed
}
