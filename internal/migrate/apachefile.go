// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Bounds of the files of one configuration.
const (
	maxLine     = 1 << 20  // bytes
	maxIncludes = 20       // files within files
	maxTotal    = 64 << 20 // bytes of all files
)

// directive is one directive of Apache's configuration, or a section with
// what is in it.
type directive struct {
	name  string // in lower case; of a section without the bracket
	word  string // the name as it was written
	args  []string
	block []directive // of a section
	open  bool        // it is a section
	where string      // file and line
	// unknown is a variable in it that is not defined.
	unknown string
}

func (d *directive) String() string {
	if d.open {
		return "<" + strings.Join(append([]string{d.word}, d.args...), " ") + ">"
	}
	return strings.Join(append([]string{d.word}, d.args...), " ")
}

// apacheFiles reads the files of one configuration, with those that they
// include, and replaces their variables.
type apacheFiles struct {
	top       string            // the directory of the file that was given
	root      string            // ServerRoot
	variables map[string]string // of Define
	modules   map[string]bool   // of LoadModule, as mod_x
	skip      bool              // it is within what does not hold
	total     int
	leave     func(where, format string, args ...any)
}

// file reads one file and appends its directives to block.
func (a *apacheFiles) file(name string, depth int, block *[]directive) error {
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if a.total += len(content); a.total > maxTotal {
		return fmt.Errorf("%s: the files have more than %d bytes together", name, maxTotal)
	}
	lines := &apacheLines{file: name, Scanner: bufio.NewScanner(bytes.NewReader(content))}
	lines.Buffer(nil, maxLine)
	if err := a.section(lines, nil, depth, block); err != nil {
		return err
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// section reads up to the end of a section, or of the file if there is none.
func (a *apacheFiles) section(lines *apacheLines, within *directive, depth int, block *[]directive) error {
	for lines.next() {
		line, unknown := a.replace(lines.line)
		if strings.HasPrefix(line, "</") {
			name := strings.ToLower(strings.TrimSpace(strings.TrimSuffix(line[2:], ">")))
			if within == nil || within.name != name {
				return fmt.Errorf("%s: </%s> closes nothing", lines.where, name)
			}
			return nil
		}
		d := directive{where: lines.where, unknown: unknown}
		if line, d.open = strings.CutPrefix(line, "<"); d.open {
			line = strings.TrimSuffix(line, ">")
		}
		words := splitWords(line)
		if len(words) == 0 {
			return fmt.Errorf("%s: a section without a name", lines.where)
		}
		d.word, d.name, d.args = words[0], strings.ToLower(words[0]), words[1:]
		if err := a.directive(lines, d, depth, block); err != nil {
			return err
		}
	}
	if within != nil {
		return fmt.Errorf("%s: <%s> is not closed", within.where, within.name)
	}
	return nil
}

// directive processes one directive: it follows it if it includes files or
// defines variables, and appends it to block.
func (a *apacheFiles) directive(lines *apacheLines, d directive, depth int, block *[]directive) error {
	switch {
	case a.skip && d.open:
		return a.section(lines, &d, depth, new([]directive))
	case a.skip:
		return nil
	}
	switch d.name {
	case "include", "includeoptional":
		if len(d.args) != 1 || d.unknown != "" {
			return fmt.Errorf("%s: %s: not one file", d.where, &d)
		}
		return a.include(d, depth, block)
	case "serverroot":
		if len(d.args) == 1 {
			a.root = d.args[0]
		}
	case "loadmodule":
		if len(d.args) > 0 {
			if a.modules == nil {
				a.modules = make(map[string]bool)
			}
			a.modules["mod_"+strings.TrimSuffix(d.args[0], "_module")] = true
		}
	case "define":
		switch len(d.args) {
		case 1:
			a.variables[d.args[0]] = ""
		case 2:
			a.variables[d.args[0]] = d.args[1]
		}
		return nil
	case "undefine":
		for _, name := range d.args {
			delete(a.variables, name)
		}
		return nil
	case "ifdefine":
		name, not := strings.CutPrefix(strings.Join(d.args, " "), "!")
		_, defined := a.variables[name]
		if defined == not { // as if it were not there
			a.leave(d.where, "%s and what is in it is left out: the files do not say that it holds", &d)
			outside := a.skip
			a.skip = true
			defer func() { a.skip = outside }()
			return a.section(lines, &d, depth, new([]directive))
		}
		return a.section(lines, &d, depth, block)
	}
	if d.open {
		if err := a.section(lines, &d, depth, &d.block); err != nil {
			return err
		}
	}
	*block = append(*block, d)
	return nil
}

// include reads the files that an Include names: one file, a pattern, or a
// directory with everything in it.
func (a *apacheFiles) include(d directive, depth int, block *[]directive) error {
	if depth >= maxIncludes {
		return fmt.Errorf("%s: files include each other more than %d deep", d.where, maxIncludes)
	}
	files := a.find(d.args[0])
	if len(files) == 0 {
		if d.name == "include" {
			return fmt.Errorf("%s: there is no file %s", d.where, d.args[0])
		}
		a.leave(d.where, "there is no file %s", d.args[0])
	}
	for _, file := range files {
		err := filepath.WalkDir(file, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			return a.file(path, depth+1, block)
		})
		if err != nil {
			return fmt.Errorf("%s: %w", d.where, err)
		}
	}
	return nil
}

// find finds files relative to ServerRoot, as Apache does. Without one it looks
// beside the given file and in the directory above, because sites-enabled is a
// directory of ServerRoot.
func (a *apacheFiles) find(pattern string) []string {
	places := []string{a.root}
	switch {
	case filepath.IsAbs(pattern):
		places = []string{""}
	case a.root == "":
		places = []string{a.top, filepath.Dir(a.top)}
	}
	for _, place := range places {
		if files, err := filepath.Glob(filepath.Join(place, pattern)); err == nil && len(files) > 0 {
			return files
		}
	}
	return nil
}

var variable = regexp.MustCompile(`\$\{[^{}$]+\}`)

// replace replaces variables by their values. Apache also uses its environment,
// which is not known here: an undefined variable stays, and its name is
// returned.
func (a *apacheFiles) replace(line string) (text, unknown string) {
	text = variable.ReplaceAllStringFunc(line, func(v string) string {
		value, ok := a.variables[v[2:len(v)-1]]
		if !ok {
			unknown = v
			return v
		}
		return value
	})
	return text, unknown
}

// versionOfApache is the version that IfVersion is evaluated for.
const versionOfApache = "2.4.62"

// builtIn are the modules that need no LoadModule.
var builtIn = []string{"core", "mod_so", "mod_http", "mod_log_config", "mod_logio", "mod_version", "mod_unixd", "mod_watchdog", "http_core"}

// flatten resolves the conditions around directives.
func (a *apacheFiles) flatten(block []directive) (flat []directive, err error) {
	for _, d := range block {
		var holds bool
		switch d.name {
		case "ifmodule":
			name, not := strings.CutPrefix(strings.Join(d.args, " "), "!")
			name = strings.TrimSuffix(strings.TrimSuffix(name, ".c"), "_module")
			if !slices.Contains(builtIn, name) {
				name = "mod_" + strings.TrimPrefix(name, "mod_")
			}
			// Without any LoadModule these files are part of a configuration that
			// loads its modules elsewhere.
			loaded := a.modules == nil || a.modules[name] || slices.Contains(builtIn, name)
			if holds = loaded != not; !holds && a.modules == nil {
				a.leave(d.where, "%s and what is in it is left out: the module is taken for loaded", &d)
			}
		case "ifversion":
			if holds, err = ifVersion(d.args); err != nil {
				return nil, fmt.Errorf("%s: %s: %w", d.where, &d, err)
			}
		case "iffile", "ifdirective", "ifsection", "macro":
			return nil, fmt.Errorf("%s: %s is not understood, and may change everything: resolve it by hand", d.where, &d)
		default:
			if d.block, err = a.flatten(d.block); err != nil {
				return nil, err
			}
			flat = append(flat, d)
			continue
		}
		if holds {
			inner, err := a.flatten(d.block)
			if err != nil {
				return nil, err
			}
			flat = append(flat, inner...)
		}
	}
	return flat, nil
}

// apacheLines returns the lines of a file. A backslash at the end continues a
// line. Comments and empty lines are left out.
type apacheLines struct {
	*bufio.Scanner
	file, line, where string
	number            int
}

func (l *apacheLines) next() bool {
	for l.Scan() {
		l.number++
		l.where = fmt.Sprintf("%s:%d", l.file, l.number)
		l.line = strings.TrimSpace(l.Text())
		for strings.HasSuffix(l.line, `\`) && l.Scan() {
			l.number++
			l.line = strings.TrimSuffix(l.line, `\`) + " " + strings.TrimSpace(l.Text())
		}
		l.line = strings.TrimSpace(strings.TrimSuffix(l.line, `\`))
		if l.line != "" && !strings.HasPrefix(l.line, "#") {
			return true
		}
	}
	return false
}

// splitWords splits a line at blanks that are not in quotes.
func splitWords(line string) (words []string) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " \t") {
		quote := line[0]
		if quote != '"' && quote != '\'' {
			end := strings.IndexAny(line, " \t")
			if end < 0 {
				end = len(line)
			}
			words = append(words, line[:end])
			line = line[end:]
			continue
		}
		var word strings.Builder
		i := 1
		for ; i < len(line) && line[i] != quote; i++ {
			if line[i] == '\\' && i+1 < len(line) && (line[i+1] == quote || line[i+1] == '\\') {
				i++
			}
			word.WriteByte(line[i])
		}
		words = append(words, word.String())
		line = line[min(i+1, len(line)):]
	}
	return words
}
