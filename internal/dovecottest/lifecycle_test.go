// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package dovecottest

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParallelServers(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		var group sync.WaitGroup
		for range 6 {
			group.Go(func() {
				target := newEndpoint(t, nil)
				s, err := New(t.Context(), Config{Version: version, Drivers: []Driver{{URL: target.URL}}})
				if err != nil {
					t.Error(err)
					return
				}
				_, mailErr := s.Deliver("", []string{DefaultUser}, mail("nobody is told"))
				if err := s.Register(DefaultUser); err != nil || mailErr != nil {
					t.Error(err, mailErr)
				}
				if _, err := s.Deliver("", []string{DefaultUser}, mail("own")); err != nil {
					t.Error(err)
				}
				if got := len(target.take()); got != 1 {
					t.Errorf("%d notifications", got)
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	})
}

func TestStop(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		s := Start(t, Config{Version: version})
		require.NoError(t, s.Stop())
		for _, addr := range []string{s.LMTPAddr(), s.IMAPAddr()} {
			_, err := net.Dial("tcp", addr)
			require.Error(t, err)
		}
		require.Error(t, s.Register(DefaultUser))
		require.Contains(t, s.Log(), "starting up")

		stranger, err := net.Listen("tcp", s.LMTPAddr())
		require.NoError(t, err, "the port is free")
		defer stranger.Close()
		require.NoError(t, s.Close())
		require.NoDirExists(t, s.hostDir)
	})
}

func TestBadConfig(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		_, err := New(t.Context(), Config{Version: version, ExtraConfig: "no_such_setting = yes"})
		require.ErrorContains(t, err, "no_such_setting", "Dovecot's own words are in the error")
	})
	for name, cfg := range map[string]Config{
		"user":        {Users: []User{{Name: "a:b", Password: "c"}}},
		"url":         {Drivers: []Driver{{URL: "http://127.0.0.1/ timeout_msecs=1"}}},
		"certificate": {SSLClientCertFile: "client.crt"},
		"missing CA":  {SSLClientCAFile: "/no/such/file"},
		"template":    {ExtraConfig: "{{.NoSuchField}}"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(t.Context(), cfg)
			require.Error(t, err)
		})
	}
}

func TestNoSuchVersion(t *testing.T) {
	var own installation
	require.NoError(t, own.identify(t.Context()))
	if own.version() == V23 {
		t.Setenv(root24, "")
		_, err := findInstallation(t.Context(), V24)
		require.ErrorIs(t, err, ErrNoSuchVersion)
		require.ErrorContains(t, err, "DOVECOT_24_ROOT is not set")
	} else {
		_, err := findInstallation(t.Context(), V23)
		require.ErrorIs(t, err, ErrNoSuchVersion)
	}

	t.Setenv(root24, t.TempDir())
	_, err := findInstallation(t.Context(), V24)
	require.ErrorContains(t, err, root24)
	require.NotErrorIs(t, err, ErrNoSuchVersion, "a variable that points nowhere is a mistake")
	_, err = findInstallation(t.Context(), "1.0")
	require.Error(t, err)
	require.NotErrorIs(t, err, ErrNoSuchVersion)
}

// ownerVariable makes the test program the owner of a server of that version.
const ownerVariable = "DOVECOTTEST_OWNER"

// beOwner starts a server, tells where it is and waits to be killed.
func beOwner() {
	version := os.Getenv(ownerVariable)
	if version == "" {
		return
	}
	s, err := New(context.Background(), Config{Version: Version(version)})
	if err != nil {
		panic(err)
	}
	os.Stdout.WriteString(s.hostDir + " " + s.LMTPAddr() + "\n")
	select {}
}

func TestOwnerKilled(t *testing.T) {
	EachVersion(t, func(t *testing.T, version Version) {
		owner := exec.Command(os.Args[0])
		owner.Env = append(os.Environ(), ownerVariable+"="+string(version))
		owner.Stderr = os.Stderr
		stdout, err := owner.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, owner.Start())
		line, err := bufio.NewReader(stdout).ReadString('\n')
		require.NoError(t, err)
		dir, addr, _ := strings.Cut(strings.TrimSpace(line), " ")
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, conn.Close())

		require.NoError(t, owner.Process.Kill())
		require.Error(t, owner.Wait())
		require.Eventually(t, func() bool {
			_, err := os.Stat(dir)
			return os.IsNotExist(err)
		}, time.Minute, 10*time.Millisecond)
		require.Eventually(t, func() bool {
			conn, err := net.Dial("tcp", addr)
			if err == nil {
				conn.Close()
			}
			return err != nil
		}, time.Minute, 10*time.Millisecond)
	})
}
