// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds one line of a configuration, in bytes.
const maxLine = 1 << 20

// directive is one directive of Apache's configuration, or a section with
// what is in it.
type directive struct {
	name  string // in lower case; of a section without the bracket
	args  []string
	block []directive // of a section
	open  bool        // it is a section
	where string      // file and line
}

// parseApache reads a configuration file of Apache 2.2 or 2.4: one directive a
// line, sections in angle brackets, a backslash at the end of a line goes on in
// the next one.
func parseApache(file string, r io.Reader) ([]directive, error) {
	root := directive{open: true}
	stack := []*directive{&root}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxLine)
	for number := 1; lines.Scan(); number++ {
		where := fmt.Sprintf("%s:%d", file, number)
		line := strings.TrimSpace(lines.Text())
		for strings.HasSuffix(line, `\`) && lines.Scan() {
			number++
			line = strings.TrimSuffix(line, `\`) + " " + strings.TrimSpace(lines.Text())
		}
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		top := stack[len(stack)-1]
		switch {
		case strings.HasPrefix(line, "</"):
			name := strings.ToLower(strings.TrimSuffix(line[2:], ">"))
			if len(stack) == 1 || top.name != strings.TrimSpace(name) {
				return nil, fmt.Errorf("%s: </%s> closes nothing", where, name)
			}
			stack = stack[:len(stack)-1]
		case strings.HasPrefix(line, "<"):
			words := splitWords(strings.TrimSuffix(strings.TrimPrefix(line, "<"), ">"))
			if len(words) == 0 {
				return nil, fmt.Errorf("%s: a section without a name", where)
			}
			top.block = append(top.block, directive{name: strings.ToLower(words[0]), args: words[1:], open: true, where: where})
			stack = append(stack, &top.block[len(top.block)-1])
		default:
			words := splitWords(line)
			top.block = append(top.block, directive{name: strings.ToLower(words[0]), args: words[1:], where: where})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(stack) > 1 {
		open := stack[len(stack)-1]
		return nil, fmt.Errorf("%s: <%s> is not closed", open.where, open.name)
	}
	return root.block, nil
}

// splitWords splits a line at blanks; quotes keep a word together.
func splitWords(line string) []string {
	var (
		words []string
		word  strings.Builder
		quote rune
		in    bool
	)
	end := func() {
		if in {
			words = append(words, word.String())
		}
		word.Reset()
		in = false
	}
	for _, c := range line {
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case c == ' ' || c == '\t':
			end()
		default:
			word.WriteRune(c)
			in = true
		}
	}
	end()
	return words
}
