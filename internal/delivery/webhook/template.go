// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"text/template"
	"time"
)

// functions of a template, beside those of Go's text/template.
var functions = template.FuncMap{
	// json writes a value as JSON, strings with their quotes: {{json .Subject}}
	"json": func(v any) (string, error) {
		b, err := encode(v)
		return string(b), err
	},
	// markdown writes text so that Markdown shows it as it is: without
	// links, images, or calls for attention such as @all.
	"markdown": markdown.Replace,
	// mrkdwn escapes text as Slack asks for: no links, no <!channel>.
	"mrkdwn": mrkdwn.Replace,
	// slug makes a name of a text that URLs and topics may have.
	"slug": slug,
	// hash makes a name of texts that tells nothing of them.
	"hash": digest,
	// skip ends the template: this mail is not sent.
	"skip": func() (string, error) { return "", errSkip },
}

// errSkip is that a template does not want a mail.
var errSkip = errors.New("skipped")

// maxSlug is how long a name may be, as for a topic of ntfy.
const maxSlug = 64

// slug keeps the letters and digits of ASCII, in lower case, with a hyphen in
// the place of everything between them. Different texts may have the same.
func slug(text string) string {
	var b strings.Builder
	for _, c := range []byte(strings.ToLower(text)) {
		switch {
		case b.Len() == maxSlug:
			return b.String()
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteByte(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
	}
	return strings.TrimSuffix(b.String(), "-")
}

// digest is the beginning of the SHA-256 of its arguments, each with a NUL behind
// it, as 32 hexadecimal digits.
func digest(texts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(texts, "\x00") + "\x00"))
	return hex.EncodeToString(sum[:16])
}

var mrkdwn = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

// markdown writes every character that some dialect gives a meaning to as a
// character reference, which has none in any of them. Which characters take a
// backslash differs, and what programs look for after the Markdown was read,
// such as mentions, emoji and addresses, does not see the backslashes any more.
var markdown = func() *strings.Replacer {
	var pairs []string
	for _, c := range "!#$&()*+-.:<=>@[\\]^_`{|}~" {
		pairs = append(pairs, string(c), "&#"+strconv.Itoa(int(c))+";")
	}
	return strings.NewReplacer(pairs...)
}()

var errNoJSON = errors.New("what the template makes is no JSON: write values as {{json .Subject}}, quotes included, " +
	"or set another Content-Type if it is not meant to be JSON")

// parseTemplate reads a template and tries it, so that mistakes show when the
// configuration is loaded.
func parseTemplate(text string, isJSON bool) (func(*Mail) ([]byte, error), error) {
	tmpl, err := template.New("body").Funcs(functions).Funcs(template.FuncMap{"lookup": new(tables).lookup}).Parse(text)
	if err != nil {
		return nil, err
	}
	body := func(m *Mail) ([]byte, error) {
		var b bytes.Buffer
		if err := tmpl.Execute(&b, m); err != nil {
			return nil, errTemplate(err)
		}
		if isJSON && !json.Valid(b.Bytes()) {
			return nil, errNoJSON
		}
		return b.Bytes(), nil
	}
	for _, m := range samples() {
		if _, err := body(m); err != nil && !errors.Is(err, errSkip) {
			return nil, err
		}
	}
	return body, nil
}

// errTemplate keeps what a mail held out of the error: functions may quote it.
func errTemplate(err error) error {
	if errors.Is(err, errSkip) {
		return errSkip
	}
	if table, ok := errors.AsType[tableError](err); ok {
		return table
	}
	if exec, ok := errors.AsType[template.ExecError](err); ok {
		text, _, _ := strings.Cut(exec.Error(), ": error calling ")
		return errors.New(text)
	}
	return errors.New("executing the template failed")
}

// samples are mails that a template has to cope with: one that tries to break
// out of quotes, and one of which little is known.
func samples() []*Mail {
	unseen := uint32(3)
	nasty := "\" \\ <!channel> {{.}} \u2028 \U0001F4E7"
	known := &Mail{
		ID: "000102030405060708090a0b0c0d0e0f", Time: time.Now().UTC(), User: nasty, Folder: "INBOX", UID: 7, UIDValidity: 1,
		Event: "messageNew", Unseen: &unseen, From: nasty, Subject: nasty, Snippet: nasty,
	}
	unknown := &Mail{ID: known.ID, Time: known.Time, User: "alice", Folder: "INBOX", Event: "messageNew"}
	return []*Mail{known, unknown}
}
