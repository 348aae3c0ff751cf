// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

func connectWriter(t *testing.T) (*nats.Conn, *writer) {
	t.Helper()
	nc, err := nats.Connect(natsServer.shared(t))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	w, err := newWriter(nc)
	require.NoError(t, err)
	return nc, w
}

// The answer to a write that was given up on is none to the next one.
func TestWriterGivesUp(t *testing.T) {
	nc, w := connectWriter(t)
	held := make(chan *nats.Msg, 2)
	_, err := nc.ChanSubscribe("stream.in", held)
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, err := w.publish(ctx, nats.NewMsg("stream.in")); first <- err }()
	late := <-held
	cancel()
	require.ErrorIs(t, <-first, context.Canceled)

	second := make(chan error, 1)
	go func() { _, err := w.publish(t.Context(), nats.NewMsg("stream.in")); second <- err }()
	next := <-held
	require.NoError(t, late.Respond([]byte(`{"stream":"s","seq":1}`)))
	require.NoError(t, next.Respond([]byte(`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}`)))
	require.ErrorIs(t, storeError(<-second), ErrFull)
}

// Without a stream nothing is stored, and nobody waits for it.
func TestWriterWithoutStream(t *testing.T) {
	_, w := connectWriter(t)
	_, err := w.publish(t.Context(), nats.NewMsg("nobody.listens"))
	require.ErrorIs(t, err, jetstream.ErrNoStreamResponse)
}

func TestAckOf(t *testing.T) {
	for name, data := range map[string]string{
		"empty":     ``,
		"no JSON":   `+OK`,
		"no stream": `{"seq":7}`,
		"null":      `null`,
		"cut":       `{"stream":"dovecot_push","seq":7`,
		"negative":  `{"stream":"dovecot_push","seq":-7}`,
		"no name":   `{"stream":"","seq":7}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ackOf(&nats.Msg{Data: []byte(data)})
			require.ErrorIs(t, err, jetstream.ErrInvalidJSAck)
		})
	}
	for _, data := range []string{
		`{"stream":"dovecot_push","seq":7}`,
		`{"stream":"dovecot_push","seq":7,"duplicate":false}`,
		`{"stream":"dovecot_push","domain":"hub","seq":7}`,
	} {
		number, err := ackOf(&nats.Msg{Data: []byte(data)})
		require.NoError(t, err, data)
		require.EqualValues(t, 7, number, data)
	}
	_, err := ackOf(&nats.Msg{Data: []byte(
		`{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"},"stream":"dovecot_push","seq":0}`)})
	require.ErrorIs(t, storeError(err), ErrFull)
}

// The usual answer is that of the server, and not what it was once.
func TestUsualAnswer(t *testing.T) {
	eachStore(t, func(t *testing.T, s *testStore) {
		q := s.open(t, "a")
		r := numbered(1)
		answer, err := q.nc().Request(q.names.in+".1", appendRecord([]byte{groupVersion}, &r), requestTimeout)
		require.NoError(t, err)
		_, ok := saysStored(answer.Data)
		require.True(t, ok, "%s", answer.Data)
	})
}
