// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package imap

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestURL(t *testing.T) {
	for url, want := range map[string]struct {
		address  string
		security security
	}{
		"imaps://mail.example.com":     {"mail.example.com:993", implicitTLS},
		"imaps://mail.example.com:44/": {"mail.example.com:44", implicitTLS},
		"imaps://127.0.0.1":            {"127.0.0.1:993", implicitTLS},
		"imap://mail.example.com":      {"mail.example.com:143", startTLS},
		"imap://10.0.0.1:1143":         {"10.0.0.1:1143", startTLS},
		"imap://127.0.0.1":             {"127.0.0.1:143", plaintext},
		"imap://[::1]:1143":            {"[::1]:1143", plaintext},
		"imap://localhost":             {"localhost:143", plaintext},
		"imap://localhost.example.com": {"localhost.example.com:143", startTLS},
	} {
		s := newServer(t, Config{URL: url})
		assert.Equal(t, want.address, s.address, url)
		assert.Equal(t, want.security, s.security, url)
	}
	assert.Equal(t, plaintext, newServer(t, Config{URL: "imap://10.0.0.1", Plaintext: true}).security)
	assert.Equal(t, implicitTLS, newServer(t, Config{URL: "imaps://10.0.0.1", Plaintext: true}).security)
}

func TestBadConfig(t *testing.T) {
	for _, url := range []string{
		"", "mail.example.com", "mail.example.com:993", "https://mail.example.com", "imaps://", "imaps://host/INBOX",
		"imaps://user:swordfish@host", "imaps://host?x=1", "imaps://user:sword%zzfish@host",
	} {
		_, err := New(Config{URL: url})
		require.Error(t, err, url)
		assert.NotContains(t, err.Error(), "sword")
	}
	_, err := New(Config{URL: "imaps://host", CAFile: "/no/such/file"})
	require.ErrorContains(t, err, "CA file")
	_, key := certificate(t)
	_, err = New(Config{URL: "imaps://host", CAFile: key})
	require.ErrorContains(t, err, "no certificate in")
}

// script is an IMAP server that sends its greeting, then one answer for each
// line that it reads, "TAG" being the tag of the line. An answer of "hang" waits
// for the end of the connection.
func script(t *testing.T, greeting string, answers ...string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				for i, answer := range append([]string{greeting}, answers...) {
					var tag string
					if i > 0 {
						line, err := r.ReadString('\n')
						if err != nil {
							return
						}
						tag, _, _ = strings.Cut(line, " ")
					}
					if answer == "hang" {
						_, _ = r.ReadString(0)
						return
					}
					fmt.Fprint(conn, strings.ReplaceAll(answer, "TAG", tag))
				}
			})
		}
	})
	return "imap://" + l.Addr().String()
}

const greeting = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] hello\r\n"

func TestAnswers(t *testing.T) {
	signedIn := "TAG OK [CAPABILITY IMAP4rev1 METADATA] in\r\n"
	for name, test := range map[string]struct {
		want error
		url  string
	}{
		"nobody listens":          {ErrUnavailable, "imap://127.0.0.1:1"},
		"closed at once":          {ErrUnavailable, script(t, "")},
		"closes with BYE":         {ErrUnavailable, script(t, "* BYE overloaded\r\n")},
		"no IMAP":                 {ErrUnavailable, script(t, "220 smtp ready\r\n")},
		"already somebody":        {ErrUnavailable, script(t, "* PREAUTH [CAPABILITY IMAP4rev1] hello root\r\n", "hang")},
		"no SASL PLAIN":           {ErrUnavailable, script(t, "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] hello\r\n", "hang")},
		"temporary":               {ErrAccount, script(t, greeting, "TAG NO [UNAVAILABLE] later\r\n")},
		"too many connections":    {ErrAccount, script(t, greeting, "TAG NO [LIMIT] later\r\n")},
		"does not understand":     {ErrAccount, script(t, greeting, "TAG BAD what\r\n")},
		"gone while signing in":   {ErrAccount, script(t, greeting, "")},
		"wrong password":          {ErrCredentials, script(t, greeting, "TAG NO [AUTHENTICATIONFAILED] no\r\n")},
		"expired password":        {ErrCredentials, script(t, greeting, "TAG NO [EXPIRED] no\r\n")},
		"no without a code":       {ErrCredentials, script(t, greeting, "TAG NO no\r\n")},
		"not for this user":       {ErrNoSuchUser, script(t, greeting, "TAG NO [AUTHORIZATIONFAILED] no\r\n")},
		"challenge and OK":        {nil, script(t, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n", "+ \r\n", "T1 OK in\r\n", "hang")},
		"OK":                      {nil, script(t, greeting, signedIn, "* BYE\r\nTAG OK\r\n")},
		"OK, no good-bye":         {nil, script(t, greeting, signedIn, "hang")},
		"OK, capabilities unsaid": {nil, script(t, greeting, "TAG OK in\r\n", "* CAPABILITY IMAP4rev1\r\nTAG OK\r\n", "hang")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := newServer(t, Config{URL: test.url}).Login(t.Context(), alice, secret)
			if test.want == nil {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, test.want)
			assert.NotContains(t, err.Error(), alice)
			assert.NotContains(t, err.Error(), secret)
			for _, other := range []error{ErrUnavailable, ErrAccount, ErrCredentials, ErrNoSuchUser, ErrNoMetadata} {
				assert.Equal(t, errors.Is(test.want, other), errors.Is(err, other), "%v: %v", err, other)
			}
		})
	}
}

// A server that does not answer holds nobody for longer than the timeouts, or
// than the one who asks wants to wait.
func TestHangingServer(t *testing.T) {
	// The greeting comes within the longer one, also on a busy machine.
	const short, patient = 50 * time.Millisecond, 2 * time.Second
	for name, test := range map[string]struct {
		want error
		url  string
	}{
		"greeting":  {ErrUnavailable, script(t, "hang")},
		"signing":   {ErrAccount, script(t, greeting, "hang")},
		"challenge": {ErrAccount, script(t, "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n", "+ \r\n", "hang")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := Config{URL: test.url, ConnectTimeout: time.Minute, Timeout: patient}
			if name == "greeting" {
				cfg.ConnectTimeout = short
			}
			err := newServer(t, cfg).Login(t.Context(), alice, secret)
			require.ErrorIs(t, err, test.want)

			ctx, cancel := context.WithTimeout(t.Context(), patient)
			defer cancel()
			err = newServer(t, Config{URL: test.url}).Login(ctx, alice, secret)
			require.ErrorIs(t, err, test.want)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

// What is announced does not matter, only what comes.
func TestEndlessAnswer(t *testing.T) {
	url := script(t, greeting,
		"TAG OK [CAPABILITY IMAP4rev1 METADATA] in\r\n",
		"* METADATA \"\" ("+entry+" {9000000000}\r\n"+strings.Repeat("x", 2*maxAnswers))
	err := newServer(t, Config{URL: url}).Do(t.Context(), Login{User: alice, Password: secret}, func(s *Session) error {
		_, err := s.Metadata(entry)
		return err
	})
	require.ErrorIs(t, err, ErrMail)
	assert.ErrorContains(t, err, errTooMuch.Error())
}

func TestMetadataAnswers(t *testing.T) {
	const signedIn = "TAG OK [CAPABILITY IMAP4rev1 METADATA] in\r\n"
	for name, test := range map[string]struct {
		answer string
		value  string
		want   error
	}{
		"quoted":       {"* METADATA \"\" (" + entry + " \"user=a\")\r\nTAG OK\r\n", "user=a", nil},
		"literal":      {"* METADATA \"\" (" + entry + " {6}\r\nuser=a)\r\nTAG OK\r\n", "user=a", nil},
		"NIL":          {"* METADATA \"\" (" + entry + " NIL)\r\nTAG OK\r\n", "", nil},
		"other entry":  {"* METADATA \"\" (/private/comment \"x\")\r\nTAG OK\r\n", "", nil},
		"nothing":      {"TAG OK\r\n", "", nil},
		"not enabled":  {"TAG NO [CANNOT] Mailbox attributes not enabled\r\n", "", ErrNoMetadata},
		"unknown":      {"TAG BAD Unknown command\r\n", "", ErrNoMetadata},
		"out of order": {"TAG NO [SERVERBUG] Internal error\r\n", "", ErrMail},
		"gone":         {"* BYE Shutting down\r\n", "", ErrMail},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := script(t, greeting, signedIn, test.answer)
			err := newServer(t, Config{URL: url}).Do(t.Context(), Login{User: alice, Password: secret}, func(s *Session) error {
				value, err := s.Metadata(entry)
				assert.Equal(t, test.value, value)
				return err
			})
			if test.want == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, test.want)
			}
		})
	}
}
