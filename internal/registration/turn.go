// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package registration

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/queue"
)

const (
	// beat is how often the one who makes a pass shows that it is alive.
	beat = 3 * time.Second
	// beats is after how many missed ones its turn is over.
	beats = 4
	// poll is how often the others look whether it is their turn.
	poll = time.Second
	// clockSkew is how far the clocks of those who share the table may differ.
	clockSkew = 5 * time.Minute
	// releaseTimeout bounds giving a turn back while stopping.
	releaseTimeout = 5 * time.Second
)

// turn is what the table keeps about passes, for one at a time to make them:
// of several Caddys that share the store, and of the configurations before and
// after a reload. It also keeps a reload from making a pass before its time.
type turn struct {
	// Owner makes a pass now, or made the last one.
	Owner   string `json:"owner"`
	Running bool   `json:"running,omitempty"`
	// Beat grows while it runs.
	Beat int `json:"beat,omitempty"`
	// Finished is when the last pass ended, if it looked at all users.
	Finished time.Time `json:"finished,omitzero"`
	// Settings are those that it was made with.
	Settings string `json:"settings,omitempty"`
}

var turnKey = queue.Key{"pass"}

// process tells this process from others that use the table.
var process = rand.Text()

func newOwner() string { return process + "/" + rand.Text() }

// sighting is when another one's beat was last seen to change.
type sighting struct {
	revision uint64
	at       time.Time
}

// turn makes a pass if it is time for one and nobody else makes one, and
// returns how long to wait for the next.
func (r *Reconciler) turn(ctx context.Context, force bool) (wait time.Duration, err error) {
	t, revision, err := r.readTurn(ctx)
	if err != nil {
		return 0, err
	}
	if t.Running && !r.isOver(t, revision) {
		return poll, nil
	}
	if err := r.subscribers(ctx); err != nil {
		return 0, err
	}
	rest := time.Until(t.Finished.Add(r.cfg.Interval))
	if rest > r.cfg.Interval+clockSkew {
		rest = 0 // a clock that was wrong when it ended puts nothing off
	}
	if !force && !t.Running && t.Settings == r.settings() && rest > 0 {
		return min(jitter(rest), r.cfg.Interval), nil
	}
	t = turn{Owner: r.owner, Running: true, Settings: r.settings()}
	if revision, err = r.writeTurn(ctx, t, revision); err != nil {
		if changedMeanwhile(err) {
			return poll, nil
		}
		return 0, err
	}
	if err := r.passInTurn(ctx, t, revision); err != nil {
		return 0, err
	}
	return jitter(r.cfg.Interval), nil
}

// passInTurn makes a pass while it shows the others that it does.
func (r *Reconciler) passInTurn(ctx context.Context, t turn, revision uint64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(beat)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			t.Beat++
			next, err := r.writeTurn(ctx, t, revision)
			if changedMeanwhile(err) {
				cancel(errors.New("another one took the turn to look at registrations"))
				return
			}
			if err == nil {
				revision = next
			}
		}
	}()
	err := r.pass(ctx)
	close(stop)
	<-stopped
	t.Running = false
	if err == nil {
		t.Finished = time.Now().UTC()
	}
	release, cancelRelease := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancelRelease()
	if _, rerr := r.writeTurn(release, t, revision); rerr != nil && !changedMeanwhile(rerr) && err == nil {
		err = rerr
	}
	return err
}

// isOver tells whether the one who has the turn is gone.
func (r *Reconciler) isOver(t turn, revision uint64) bool {
	if r.cfg.Alone && !strings.HasPrefix(t.Owner, process+"/") {
		return true
	}
	if r.other.revision != revision {
		r.other = sighting{revision, time.Now()}
	}
	return time.Since(r.other.at) > beats*beat
}

// settings is what makes another pass necessary when it changes.
func (r *Reconciler) settings() string {
	return fmt.Sprintf("%s %T %q %v", r.cfg.Policy, r.cfg.Registrar, r.cfg.Value.fields, r.cfg.Takeover)
}

func (r *Reconciler) readTurn(ctx context.Context) (t turn, revision uint64, err error) {
	entry, err := r.cfg.Table.Get(ctx, turnKey)
	if errors.Is(err, queue.ErrNotFound) {
		return turn{}, 0, nil
	}
	if err != nil {
		return turn{}, 0, err
	}
	_ = json.Unmarshal(entry.Value, &t) // one that cannot be read is none
	return t, entry.Revision, nil
}

func (r *Reconciler) writeTurn(ctx context.Context, t turn, revision uint64) (uint64, error) {
	value, err := json.Marshal(t)
	if err != nil {
		return 0, err
	}
	if revision == 0 {
		return r.cfg.Table.Create(ctx, turnKey, value)
	}
	return r.cfg.Table.Update(ctx, turnKey, value, revision)
}
