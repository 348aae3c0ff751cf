// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dovecotpush/caddy-dovecot-push/internal/adminapi"
	"github.com/dovecotpush/caddy-dovecot-push/internal/printable"
)

// chooseDeadLetters adds the flags that choose dead letters, and returns what
// makes parameters of them.
func chooseDeadLetters(cmd *cobra.Command) func() url.Values {
	var id, target, before, after string
	flags := cmd.Flags()
	flags.StringVar(&id, "id", "", "Those of the notification with this identity")
	flags.StringVar(&target, "target", "", "Those of this target")
	flags.StringVar(&before, "before", "", "Those stored before this time (RFC 3339), or older than this age, such as 24h")
	flags.StringVar(&after, "after", "", "Those stored after this time, or younger than this age")
	return func() url.Values {
		query := make(url.Values)
		for name, value := range map[string]string{"id": id, "target": target, "before": before, "after": after} {
			if value != "" {
				query.Set(name, value)
			}
		}
		return query
	}
}

func deadLettersCommand() *cobra.Command {
	var content bool
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "Shows dead letters: notifications that targets could not deliver",
		Long: `
Shows dead letters, the notifications that targets could not deliver, oldest
first. They are kept for 30 days. Their content is somebody's mail, and is shown
with --content only.`,
		Example: "  caddy dovecot-push dead-letters --target middleware --after 24h",
		Args:    cobra.NoArgs,
	}
	choose := chooseDeadLetters(cmd)
	cmd.Flags().BoolVar(&content, "content", false, "Also show what Dovecot sent")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := newClient(cmd)
		if err != nil {
			return err
		}
		query := choose()
		if content {
			query.Set("content", "true")
		}
		return c.showDeadLetters(query)
	}
	cmd.AddCommand(changeDeadLettersCommand("delete", "Forgets dead letters", http.MethodDelete, "dead_letters",
		"deleted", "  caddy dovecot-push dead-letters delete --before 7d\n  caddy dovecot-push dead-letters delete --all"))
	return cmd
}

func replayCommand() *cobra.Command {
	return changeDeadLettersCommand("replay", "Delivers dead letters again", http.MethodPost, "dead_letters/replay",
		"replayed", "  caddy dovecot-push replay 17 18\n  caddy dovecot-push replay --target middleware --after 24h\n  caddy dovecot-push replay --all")
}

func changeDeadLettersCommand(use, short, method, path, done, example string) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: use + " [<number>…]", Short: short, Example: example,
		Long: "\n" + short + ": those with the given numbers, as dead-letters shows them, those that\nthe flags select, or --all. The exit status is 1 if one of them failed.",
	}
	choose := chooseDeadLetters(cmd)
	cmd.Flags().BoolVar(&all, "all", false, "All of them")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := newClient(cmd)
		if err != nil {
			return err
		}
		query := choose()
		if len(args) == 0 && len(query) == 0 && !all {
			return errors.New("say which: numbers, --id, --target, --before, --after or --all")
		}
		if len(args) > 0 && (all || len(query) > 0) {
			return errors.New("give either numbers or flags, not both")
		}
		if all {
			query.Set("all", "true")
		}
		queries := []url.Values{query}
		if len(args) > 0 {
			queries = nil
			for _, number := range args {
				if _, err := strconv.ParseUint(number, 10, 64); err != nil {
					return fmt.Errorf("%q is not the number of a dead letter", number)
				}
				queries = append(queries, url.Values{"number": {number}})
			}
		}
		var sum adminapi.Changed
		for _, query := range queries {
			changed, err := c.changeDeadLetters(cmd.ErrOrStderr(), method, path+"?"+query.Encode(), done)
			if err != nil {
				return err
			}
			sum.Done, sum.Failed = sum.Done+changed.Done, sum.Failed+changed.Failed
			if sum.Error == "" {
				sum.Error = changed.Error
			}
		}
		if c.json {
			err = c.printJSON(sum)
		} else {
			_, err = fmt.Fprintf(c.out, "%d %s\n", sum.Done, done)
		}
		if err == nil && sum.Failed > 0 {
			err = fmt.Errorf("%d could not be %s: %s", sum.Failed, done, printable.Text(sum.Error))
		}
		return err
	}
	return cmd
}

// changeDeadLetters asks for a change, and shows on a terminal how far it is.
func (c *client) changeDeadLetters(stderr io.Writer, method, path, done string) (changed adminapi.Changed, err error) {
	file, ok := stderr.(*os.File)
	onScreen := ok && isTerminal(file) && !c.json
	began := time.Now()
	err = c.callLines(method, path, nil, func(raw json.RawMessage) error {
		var line adminapi.Changed
		if err := json.Unmarshal(raw, &line); err != nil {
			return err
		}
		if line.Error != "" && line.Failed == 0 { // it ended early
			return fmt.Errorf("%s after %d %s; the same command continues with the others", line.Error, changed.Done, done)
		}
		changed = line
		if onScreen {
			fmt.Fprintf(stderr, "\r\x1b[K%d %s, %.0f/s", changed.Done, done, float64(changed.Done)/max(time.Since(began).Seconds(), 0.001))
		}
		return nil
	})
	if onScreen {
		fmt.Fprint(stderr, "\r\x1b[K")
	}
	return changed, err
}

// showDeadLetters prints page after page.
func (c *client) showDeadLetters(query url.Values) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	all := []adminapi.DeadLetter{}
	for {
		var page adminapi.DeadLetters
		if err := c.call(http.MethodGet, "dead_letters?"+query.Encode(), nil, &page); err != nil {
			return err
		}
		all = append(all, page.DeadLetters...)
		if page.Next == 0 {
			break
		}
		query.Set("from", strconv.FormatUint(page.Next, 10))
	}
	if c.json {
		return c.printJSON(all)
	}
	if len(all) == 0 {
		_, err := fmt.Fprintln(c.out, "no dead letters")
		return err
	}
	fmt.Fprintln(w, "number\ttarget\treason\tattempts\tgiven up\tid")
	for _, d := range all {
		fmt.Fprintf(w, "%d\t%s\t%s\t%d\t%s\t%s\n", d.Number, d.Target, d.Reason, d.Attempts, d.Buried.Local().Format("2006-01-02 15:04:05"), d.ID)
		if d.Body != nil {
			fmt.Fprintf(w, "  %s\n", d.Body)
		}
	}
	return w.Flush()
}
