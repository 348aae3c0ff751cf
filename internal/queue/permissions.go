// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ackTimeout is how long an acknowledgement may take to be answered.
const ackTimeout = 3 * time.Second

// denials are the subjects that the account may not use, as a permission
// would name them.
type denials struct {
	mu       sync.Mutex
	subjects map[string]bool
}

var violation = regexp.MustCompile(`Permissions Violation for (Publish|Subscription) to "([^"]*)"`)

// note reports whether err is a violation that was not seen yet, and whether
// it is one at all.
func (d *denials) note(err error) (first, is bool) {
	if !errors.Is(err, nats.ErrPermissionViolation) {
		return false, false
	}
	subject := "?"
	if m := violation.FindStringSubmatch(err.Error()); m != nil {
		subject = map[string]string{"Publish": "publish to ", "Subscription": "subscribe to "}[m[1]] + generalize(m[2])
	}
	if strings.HasSuffix(subject, " $SYS.>") {
		return false, true // few users may ask the system account
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.subjects == nil {
		d.subjects = make(map[string]bool)
	}
	first = !d.subjects[subject]
	d.subjects[subject] = true
	return first, true
}

func (d *denials) list() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all []string
	for s := range d.subjects {
		all = append(all, s)
	}
	slices.Sort(all)
	return all
}

func (d *denials) clear() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.subjects)
}

// generalize makes of a subject the pattern that a permission for it has. So
// there are few, however many subjects there are.
func generalize(subject string) string {
	parts := strings.Split(subject, ".")
	switch {
	case parts[0] == "$JS" && len(parts) > 2 && parts[1] == "API":
		i := 2
		for i < len(parts) && strings.ToUpper(parts[i]) == parts[i] && i < 5 {
			i++ // STREAM.MSG.GET
		}
		if i == len(parts) {
			return subject
		}
		return strings.Join(parts[:i], ".") + ".>"
	case parts[0] == "$JS" && len(parts) > 2:
		return "$JS." + parts[1] + ".>"
	default:
		return parts[0] + ".>"
	}
}

// checkPermissions asks for everything that the queue asks for, in a way that
// changes nothing. What is denied is noted.
func (q *Queue) checkPermissions(ctx context.Context) error {
	q.denied.clear()
	c := q.conn.Load()
	n, nobody := q.names, "check-"+rand.Text()[:8]
	bucket := n.stream + "_" + checkTable
	api := []string{"INFO"}
	for _, stream := range []string{n.stream, n.parkedStream, n.deadStream} {
		for _, verb := range []string{"INFO", "CREATE", "UPDATE"} {
			api = append(api, "STREAM."+verb+"."+stream)
		}
	}
	for _, stream := range []string{n.stream, n.parkedStream} {
		// Not PURGE, which takes whatever it gets for a wish to purge all:
		// checkAcknowledgement does that to what is its own.
		api = append(api,
			"CONSUMER.CREATE."+stream+"."+nobody, "CONSUMER.INFO."+stream+"."+nobody,
			"CONSUMER.DELETE."+stream+"."+nobody, "CONSUMER.MSG.NEXT."+stream+"."+nobody)
	}
	api = append(api, "CONSUMER.LIST."+n.stream, "CONSUMER.NAMES."+n.stream,
		"STREAM.MSG.GET."+n.deadStream, "STREAM.MSG.DELETE."+n.deadStream,
		"STREAM.CREATE.KV_"+bucket, "STREAM.INFO.KV_"+bucket, "CONSUMER.CREATE.KV_"+bucket+"."+nobody,
		"CONSUMER.DELETE.KV_"+bucket+"."+nobody, "DIRECT.GET.KV_"+bucket+".$KV."+bucket+".check")
	var messages []*nats.Msg
	for _, a := range api {
		// A body that is not JSON is refused by the receiver.
		messages = append(messages, &nats.Msg{Subject: "$JS.API." + a, Data: []byte("?")})
	}
	for _, stream := range []string{n.stream, n.parkedStream} {
		messages = append(messages, &nats.Msg{Subject: "$JS.ACK." + stream + "." + nobody + ".1.1.1.1.0", Data: []byte("+WPI")},
			&nats.Msg{Subject: "$JS.FC." + stream + "." + nobody + ".1"})
	}
	for _, subject := range []string{n.in + ".1", n.park + "." + nobody + ".1", n.dead + "." + nobody, "$KV." + bucket + ".check"} {
		// A stream does not take what is meant for another one.
		messages = append(messages, &nats.Msg{Subject: subject, Header: nats.Header{jetstream.ExpectedStreamHeader: {nobody}}})
	}
	for _, msg := range messages {
		msg.Reply = c.nc.NewInbox()
		if err := c.nc.PublishMsg(msg); err != nil {
			return err
		}
		if err := c.nc.FlushWithContext(ctx); err != nil {
			return err
		}
		if err := c.nc.LastError(); errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+msg.Subject+`"`) {
			q.denied.note(err)
		}
	}
	return nil
}

// checkAcknowledgement parks a message for nobody, takes and acknowledges it:
// without that everything is delivered again after [AckWait].
func (q *Queue) checkAcknowledgement(ctx context.Context) (err error) {
	ctx, cancel := context.WithTimeout(ctx, ackTimeout)
	defer cancel()
	c, name := q.conn.Load(), "check-"+rand.Text()[:8]
	subject := q.names.park + "." + name + ".0"
	consumer, err := c.js.CreateConsumer(ctx, q.names.parkedStream, jetstream.ConsumerConfig{
		Name: name, Description: "looks whether acknowledgements arrive", FilterSubject: subject,
		AckPolicy: jetstream.AckExplicitPolicy, InactiveThreshold: time.Minute, MemoryStorage: true,
	})
	if err != nil {
		return fmt.Errorf("making a consumer: %w", err)
	}
	defer func() {
		after, cancel := context.WithTimeout(q.ctx, ackTimeout)
		defer cancel()
		if stream, err := c.js.Stream(after, q.names.parkedStream); err == nil {
			_ = stream.Purge(after, jetstream.WithPurgeSubject(subject))
		}
		_ = c.js.DeleteConsumer(after, q.names.parkedStream, name)
	}()
	if _, err := c.js.Publish(ctx, subject, nil, jetstream.WithExpectStream(q.names.parkedStream), jetstream.WithRetryAttempts(0)); err != nil {
		return fmt.Errorf("publishing: %w", err)
	}
	batch, err := consumer.Fetch(1, jetstream.FetchMaxWait(ackTimeout/2))
	if err != nil {
		return fmt.Errorf("fetching: %w", err)
	}
	msg, ok := <-batch.Messages()
	if !ok {
		return fmt.Errorf("fetching: nothing came: %w", batch.Error())
	}
	if err := msg.DoubleAck(ctx); err != nil {
		return fmt.Errorf("acknowledging: %w", err)
	}
	return nil
}
