// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const (
	// credentialFloodConnections show wrong passwords, each as soon as it has
	// the answer to the one before.
	credentialFloodConnections = 200
	// hashCost is that of caddy hash-password.
	// dovecotPatience is when Dovecot gives up.
	dovecotPatience = 2 * time.Second
)

// credentialFlood shows that a flood of wrong passwords for credentials with a
// hash does not lock Dovecot out: the right ones, from another source, are
// shown from the moment at which the flood begins, at a Caddy that has just
// started and knows none of them, until well after it has ended.
func (b *bench) credentialFlood() error {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	if err != nil {
		return err
	}
	caddyfile := strings.Replace(accepting("", "sync always"), "{env.NOTIFY_PASSWORD}", string(hash), 1)
	var first, all []time.Duration
	refused := 0
	for range *rounds {
		s, err := b.caddy(b.binary, caddyfile)
		if err != nil {
			return err
		}
		took, failed, err := underFlood(s.address)
		if err != nil {
			return err
		}
		first, all, refused = append(first, took[0]), append(all, took...), refused+failed
		b.stop(s)
	}
	slices.Sort(first)
	slices.Sort(all)
	inTime := 0
	for _, took := range all {
		if took <= dovecotPatience {
			inTime++
		}
	}
	row("the right password", "p50", "p99", "most")
	row("---", "---:", "---:", "---:")
	row("the first of each start", quantile(first, 50), quantile(first, 99), quantile(first, 100))
	row("all", quantile(all, 50), quantile(all, 99), quantile(all, 100))
	share := float64(inTime-refused) / float64(len(all))
	wanted := atLeast(0.99)
	fmt.Printf("\n%d requests, %d of them refused. Let in within 2 s: %.4f (wanted: %s), %s.\n",
		len(all), refused, share, wanted, wanted.verdict(share))
	return nil
}

func quantile(sorted []time.Duration, percent int) string {
	return milliseconds(sorted[(len(sorted)-1)*percent/100].Seconds())
}

// underFlood shows the right password while others are shown, and for as long
// afterwards. It returns how long each request took, and how many were refused.
func underFlood(address string) (took []time.Duration, refused int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2**duration)
	defer cancel()
	var wg sync.WaitGroup
	attackers := clientFrom("127.0.0.2")
	defer attackers.CloseIdleConnections()
	for n := range credentialFloodConnections {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				_, _ = notifyWith(ctx, attackers, address, fmt.Sprint(n, " ", i))
			}
		})
	}
	mailServer := clientFrom("127.0.0.3")
	defer mailServer.CloseIdleConnections()
	for end := time.Now().Add(4 * *duration); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		begin := time.Now()
		status, err := notifyWith(context.Background(), mailServer, address, password)
		if err != nil {
			return nil, 0, err
		}
		took = append(took, time.Since(begin))
		if status != http.StatusOK {
			refused++
		}
	}
	wg.Wait()
	return took, refused, nil
}

// clientFrom returns a client at a loopback address.
func clientFrom(address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	return &http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: credentialFloodConnections}}
}

func notifyWith(ctx context.Context, client *http.Client, address, password string) (status int, err error) {
	notification := newForm(body)
	notification.next()
	r, err := http.NewRequestWithContext(ctx, http.MethodPut, "http://"+address+notifyPath, bytes.NewReader(notification.text))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.SetBasicAuth(username, password)
	resp, err := client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}
