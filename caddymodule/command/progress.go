// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/printable"
)

const (
	// barWidth is in characters; barInterval is how often it is drawn.
	barWidth    = 30
	barInterval = 100 * time.Millisecond
)

// manyRun shows how registering many users goes on: a bar on a terminal, those
// who failed on standard error, the others on standard output if they were
// named.
type manyRun struct {
	c        *client
	action   string
	progress io.Writer // where the bar is drawn; nil for none
	errors   io.Writer

	started, drawn time.Time
	total          int
	done, failed   int
	all            []adminapi.Registration // for JSON
}

func newManyRun(c *client, stderr io.Writer, action string) *manyRun {
	run := &manyRun{c: c, action: action, errors: stderr, started: time.Now(), all: []adminapi.Registration{}}
	if file, ok := stderr.(*os.File); ok && isTerminal(file) && !c.json {
		run.progress = stderr
	}
	return run
}

// request asks for a change and follows how it goes on.
func (run *manyRun) request(many adminapi.RegistrationsChange) error {
	return run.c.callLines(http.MethodPost, "registrations", many, func(raw json.RawMessage) error {
		var line adminapi.RegistrationsLine
		if err := json.Unmarshal(raw, &line); err != nil {
			return err
		}
		switch {
		case line.Error != "":
			return errors.New(line.Error)
		case line.Registration != nil:
			run.note(*line.Registration)
		case many.All:
			run.total = line.Total
		}
		run.draw(false)
		return nil
	})
}

func (run *manyRun) note(reg adminapi.Registration) {
	run.done++
	wrong := reg.Error != ""
	if wrong {
		run.failed++
	}
	switch {
	case run.c.json:
		run.all = append(run.all, reg)
	case wrong:
		run.clear()
		fmt.Fprintf(run.errors, "%s: %s\n", shownUser(reg.User), printable.Text(reg.Error))
	case run.progress == nil:
		fmt.Fprintf(run.c.out, "%s: %s\n", reg.User, reg.State)
	}
}

// shownUser is a name for a terminal: one of Dovecot's list may be empty, or be
// made of anything.
func shownUser(user string) string {
	if strings.TrimSpace(user) == "" {
		return strconv.Quote(user)
	}
	return printable.Text(user)
}

// end prints the result. The error is what the command ends with.
func (run *manyRun) end(err error) error {
	run.draw(true)
	if run.progress != nil {
		fmt.Fprintln(run.progress)
	}
	if run.c.json {
		if jerr := run.c.printJSON(run.all); jerr != nil {
			return jerr
		}
	} else if run.done > 0 && err == nil {
		fmt.Fprintf(run.c.out, "%s: %d users in %v, %d failed\n",
			run.action, run.done, time.Since(run.started).Round(10*time.Millisecond), run.failed)
	}
	if err == nil && run.failed > 0 {
		err = fmt.Errorf("%s: %d of %d users failed", run.action, run.failed, run.done)
	}
	return err
}

func (run *manyRun) clear() {
	if run.progress != nil {
		fmt.Fprint(run.progress, "\r\x1b[K")
	}
}

// draw draws the bar, if there is one and it is time.
func (run *manyRun) draw(now bool) {
	if run.progress == nil || !now && time.Since(run.drawn) < barInterval {
		return
	}
	run.drawn = time.Now()
	filled := 0
	if run.total > 0 {
		filled = min(barWidth*run.done/run.total, barWidth)
	}
	rate := float64(run.done) / max(time.Since(run.started).Seconds(), 0.001)
	fmt.Fprintf(run.progress, "\r\x1b[K[%s%s] %d/%d, %.0f/s", strings.Repeat("#", filled), strings.Repeat(".", barWidth-filled),
		run.done, run.total, rate)
}
