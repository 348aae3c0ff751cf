// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
)

// BenchmarkWriter publishes one message after the other, by writer and by what
// nats.go has for it.
func BenchmarkWriter(b *testing.B) {
	q := openUnsynced(b)
	data := record(1, 300).Body
	b.Run("writer", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := q.conn.Load().writer.publish(b.Context(), &nats.Msg{Subject: q.names.in + ".1", Data: data})
			require.NoError(b, err)
		}
	})
	b.Run("nats.go", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := q.js().PublishMsg(b.Context(), &nats.Msg{Subject: q.names.in + ".1", Data: data})
			require.NoError(b, err)
		}
	})
}

// BenchmarkPuller takes one message after the other, each published before, by
// puller and by what nats.go has for it.
func BenchmarkPuller(b *testing.B) {
	q := openUnsynced(b)
	consumer, err := q.consumer(b.Context(), "target", false)
	require.NoError(b, err)
	data := record(1, 300).Body
	publish := func(b *testing.B) {
		_, err := q.conn.Load().writer.publish(b.Context(), &nats.Msg{Subject: q.names.in + ".1", Data: data})
		require.NoError(b, err)
	}
	b.Run("puller", func(b *testing.B) {
		pull, err := newPuller(q.nc(), q.streamOf(false), "target", embeddedWait)
		require.NoError(b, err)
		defer pull.close()
		b.ReportAllocs()
		for b.Loop() {
			publish(b)
			messages, err := pull.fetch(b.Context(), 1, 1<<20)
			require.NoError(b, err)
			require.Len(b, messages, 1)
			require.NoError(b, q.nc().Publish(messages[0].Reply, ackDone))
		}
	})
	b.Run("nats.go", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			publish(b)
			message, err := consumer.Next(jetstream.FetchMaxWait(embeddedWait))
			require.NoError(b, err)
			require.NoError(b, message.Ack())
		}
	})
}

func openUnsynced(b *testing.B) *Queue {
	b.Helper()
	s := embeddedStore(b)
	s.config.Embedded.Sync, s.config.MaxBytes = time.Minute, 4<<30
	return s.open(b, "target")
}
