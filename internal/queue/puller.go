// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// maxPull is how many messages one request may ask for.
	maxPull = 256
	// lateAnswer is how long after the end of a request its answer may come, and
	// how long the server may take to end the reading.
	lateAnswer = time.Second
)

// puller asks JetStream for the messages of one consumer. It is what
// [jetstream.Consumer] does with FetchNoWait and Next, with one inbox for all
// requests: what comes later than it is waited for, on a machine that is busy
// or from a store that is being reopened, is there for the next one, and
// not on its way to nobody until it is given out again after [AckWait]. That is
// what it is for: it takes as long, with 96 allocations in place of 129
// (BenchmarkPuller).
type puller struct {
	nc      *nats.Conn
	subject string // of requests
	inbox   string
	sub     *nats.Subscription
	arrived chan *nats.Msg
	ended   chan struct{}    // closed when nothing can arrive any more
	changed chan nats.Status // of the connection: it was lost, and the request with it
	wait    time.Duration    // of a request at the server, for the first message
	sent    uint64
}

func newPuller(nc *nats.Conn, stream, consumer string, wait time.Duration) (*puller, error) {
	p := &puller{
		nc: nc, subject: "$JS.API.CONSUMER.MSG.NEXT." + stream + "." + consumer,
		inbox: nc.NewInbox() + ".", arrived: make(chan *nats.Msg, 4*maxPull), ended: make(chan struct{}), wait: wait,
	}
	var err error
	if p.sub, err = nc.ChanSubscribe(p.inbox+"*", p.arrived); err != nil {
		return nil, err
	}
	ended := sync.OnceFunc(func() { close(p.ended) }) // Drain may close what the connection has closed
	p.sub.SetClosedHandler(func(string) { ended() })
	p.changed = nc.StatusChanged(nats.CONNECTED, nats.CLOSED)
	return p, nil
}

// fetch returns the messages that are there, up to most and of up to size bytes
// together, but at least one, and waits for the first, until ctx ends or for a
// while. It may return more where an earlier request was answered late.
func (p *puller) fetch(ctx context.Context, most, size int) (messages []*nats.Msg, err error) {
	for { // what came late
		select {
		case msg := <-p.arrived:
			if status, _ := statusOf(msg); status == "" {
				messages = append(messages, msg)
			}
			continue
		default:
		}
		break
	}
	if len(messages) > 0 {
		return messages, nil
	}
	messages, tooLarge, err := p.request(ctx, min(most, maxPull), max(size, 1))
	if tooLarge && len(messages) == 0 {
		messages, _, err = p.request(ctx, 1, 0)
	}
	return messages, err
}

// request asks for up to most messages of up to size bytes together, which 0
// leaves open. It reports whether the next one is too large for that.
func (p *puller) request(ctx context.Context, most, size int) (messages []*nats.Msg, tooLarge bool, err error) {
	p.sent++
	reply := p.inbox + strconv.FormatUint(p.sent, 10)
	// With no_wait the request ends with the last message that is there; it
	// still waits until it expires for the first.
	request := fmt.Appendf(nil, `{"batch":%d,"max_bytes":%d,"expires":%d,"no_wait":true}`,
		most, size, p.wait.Nanoseconds())
	if err := p.nc.PublishRequest(p.subject, reply, request); err != nil {
		return nil, false, err
	}
	end := time.NewTimer(p.wait + lateAnswer)
	defer end.Stop()
	for len(messages) < most {
		select {
		case msg := <-p.arrived:
			status, description := statusOf(msg)
			switch {
			case status == "":
				messages = append(messages, msg)
			case msg.Subject != reply: // of an earlier request
			case status == "404" || status == "408": // no more, or not in time
				return messages, false, nil
			case status == "409" && (description == "Batch Completed" || description == "Server Shutdown"):
				// Messages of it were lost with a connection, and are delivered
				// again; or the store is being opened again.
				return messages, false, nil
			case status == "409" && description == "Message Size Exceeds MaxBytes":
				return messages, true, nil
			default:
				return messages, false, fmt.Errorf("the store answers %s %s", status, description)
			}
		case <-p.ended:
			return messages, false, nats.ErrConnectionClosed
		case <-p.changed:
			return messages, false, nil
		case <-ctx.Done(): // what still comes is found by close
			return messages, false, nil
		case <-end.C:
			return messages, false, nil
		}
	}
	return messages, false, nil
}

// statusOf tells what an answer without a message says.
func statusOf(msg *nats.Msg) (status, description string) {
	if len(msg.Data) > 0 {
		return "", ""
	}
	return msg.Header.Get("Status"), msg.Header.Get("Description")
}

// close ends the reading. It returns what arrived since the last fetch. What the
// server sends after the request was withdrawn it gives out again.
func (p *puller) close() (messages []*nats.Msg) {
	p.nc.RemoveStatusListener(p.changed)
	if p.sub.Drain() == nil { // what it has sent arrives first
		select {
		case <-p.ended:
		case <-time.After(lateAnswer):
			_ = p.sub.Unsubscribe()
		}
	}
	for {
		select {
		case msg := <-p.arrived:
			if status, _ := statusOf(msg); status == "" {
				messages = append(messages, msg)
			}
		default:
			return messages
		}
	}
}
