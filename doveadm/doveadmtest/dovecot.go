// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package doveadmtest

import (
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"sync"

	"github.com/dovecotpush/caddy-dovecot-push/doveadm"
)

// Dovecot is the API and what is behind it: users with their METADATA. It is an
// http.Handler. Its methods may be used concurrently.
type Dovecot struct {
	secret, password string
	allowed          []string
	noDict           bool
	noIteration      bool

	mu        sync.Mutex
	users     []string
	entries   map[string]map[string]string // by user and key
	mailboxes map[string][]*mailbox        // by user
	created   int                          // mailboxes and mails, which are numbered
	requests  map[string]int
	interfere func(w http.ResponseWriter, r *http.Request, command string) bool
}

// NewDovecot makes a Dovecot that nothing is served of. Tests with a port use
// [Start].
func NewDovecot(cfg Config) *Dovecot {
	if cfg.APISecret == "" {
		cfg.APISecret = DefaultAPISecret
	}
	d := &Dovecot{
		secret: cfg.APISecret, password: cfg.Password, allowed: cfg.AllowedCommands,
		noDict: cfg.NoAttributeDict, noIteration: cfg.NoIteration,
		entries: make(map[string]map[string]string), mailboxes: make(map[string][]*mailbox), requests: make(map[string]int),
	}
	for _, user := range cfg.Users {
		d.AddUser(user)
	}
	return d
}

// APISecret is the doveadm_api_key.
func (d *Dovecot) APISecret() string { return d.secret }

// AddUser makes a login exist.
func (d *Dovecot) AddUser(login string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	login = strings.ToLower(login)
	if d.entries[login] == nil {
		d.users = append(d.users, login)
		d.entries[login] = make(map[string]string)
		d.addMailbox(login, "INBOX")
	}
}

// Entries returns a copy of the METADATA entries of a user, by lower-case key.
func (d *Dovecot) Entries(login string) map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.entries[strings.ToLower(login)])
}

// SetEntry sets a METADATA entry, as something else than a client would.
func (d *Dovecot) SetEntry(login, key, value string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if entries := d.entries[strings.ToLower(login)]; entries != nil {
		entries[strings.ToLower(key)] = value
	}
}

// Requests returns how many requests there were until now, by command. The list
// of commands, which clients look at to find out whether an endpoint serves, is
// counted as "".
func (d *Dovecot) Requests() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.requests)
}

// Interfere makes every request go through a function before it is answered,
// which may wait, or answer in its stead and return true. A panic with
// http.ErrAbortHandler closes the connection without an answer. Nil ends it. The
// command is empty for the list of commands.
func (d *Dovecot) Interfere(f func(w http.ResponseWriter, r *http.Request, command string) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.interfere = f
}

// ServeHTTP answers one request.
func (d *Dovecot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Connection", "close")
	var c call
	var refusal string
	if r.Method == http.MethodPost {
		c, refusal = readCall(http.MaxBytesReader(w, r.Body, maxRequest))
	}
	d.mu.Lock()
	d.requests[c.name]++
	interfere := d.interfere
	d.mu.Unlock()
	if interfere != nil && interfere(w, r, c.name) {
		return
	}
	switch {
	case r.URL.Path != doveadm.DefaultPath, r.Method != http.MethodGet && r.Method != http.MethodPost:
		writeText(w, http.StatusNotFound, "Path Not Found")
	case !d.authorized(r):
		if r.Close && r.Method == http.MethodPost {
			<-r.Context().Done() // no answer at all
			return
		}
		w.Header().Set("WWW-Authenticate", "X-Dovecot-API")
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodGet:
		writeJSON(w, commandList())
	case refusal != "":
		writeText(w, http.StatusBadRequest, refusal)
	default:
		writeJSON(w, []any{d.execute(c)})
	}
}

func (d *Dovecot) authorized(r *http.Request) bool {
	if login, password, ok := r.BasicAuth(); ok {
		return d.password != "" && login == doveadm.DefaultUsername && equal(password, d.password)
	}
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	secret, err := base64.StdEncoding.DecodeString(value)
	return err == nil && strings.EqualFold(scheme, "X-Dovecot-API") && equal(string(secret), d.secret)
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

func writeText(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text))
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v)
}
