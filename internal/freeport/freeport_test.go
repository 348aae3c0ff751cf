// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package freeport

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The test program is also the other program that asks for ports.
func TestMain(m *testing.M) {
	if os.Getenv("PRINT_ADDRESSES") == "" {
		os.Exit(m.Run())
	}
	for range 2000 {
		address, err := Address()
		if err != nil {
			panic(err)
		}
		println(address)
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // keeps them until its parent has its own
}

func TestNoPortTwice(t *testing.T) {
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), "PRINT_ADDRESSES=yes")
	var printed strings.Builder
	other.Stderr = &printed
	in, err := other.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, other.Start())

	seen := make(map[string]bool)
	for range 2000 {
		address, err := Address()
		require.NoError(t, err)
		require.False(t, seen[address], address)
		seen[address] = true
	}
	require.NoError(t, in.Close())
	require.NoError(t, other.Wait())
	theirs := strings.Fields(printed.String())
	require.Len(t, theirs, 2000)
	for _, address := range theirs {
		require.False(t, seen[address], address)
	}
}

func TestServerCanListen(t *testing.T) {
	address, err := Address()
	require.NoError(t, err)
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}
