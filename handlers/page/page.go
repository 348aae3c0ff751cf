// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

// Package page is the web app with which people turn notifications on. It signs
// in, subscribes the browser, lists the devices of the user, and shows new mail
// as it arrives. It can be put on the home screen of a phone.
//
// It serves its files below any path:
//
//	http.Handle("/push/", http.StripPrefix("/push", page.New(page.Options{})))
//
// The files are those of the folder app, with headers that keep foreign content
// out of the page. All of them are public: the data comes from the JSON API,
// which the page expects below api/, beside its own files.
//
// There is no build step: what is in app is what the browser runs.
//
// Like everything below handlers, it makes no promise of stability before v1.
package page

import (
	"bytes"
	"net/http"
	"strings"
	"time"
)

// DefaultName is what the page calls itself where its language cannot be that
// of the reader.
const DefaultName = "New mail"

// Options are what an operator may choose.
type Options struct {
	// Name is what the page calls itself: in its title, below its icon on the
	// home screen, and in the settings of the browser. Plain text. Default:
	// [DefaultName], or what that is in the language of the browser.
	Name string
	// Logo is the path of a picture on the same site, in place of the icon in
	// the heading. The icons of an installed page stay.
	Logo string
	// Accent is the colour of buttons, links and marks, made darker and lighter
	// as far as it must be to be readable. Default: that of app.css.
	Accent *Color
	// Where people find help, a new password, and what the law demands. Each is
	// a URL or a path, and is not linked if it is empty.
	HelpURL, PasswordURL, PrivacyURL, ImprintURL string
}

// New returns the handler for the files of the page. It takes the paths that
// are left of the URL when the prefix is stripped: "/" is the page itself.
func New(o Options) http.Handler {
	return handler(load(o))
}

type handler map[string]file

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	f, ok := h[strings.TrimPrefix(r.URL.Path, "/")]
	switch {
	case !ok:
		http.Error(w, "404 not found", http.StatusNotFound)
		return
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "405 method not allowed", http.StatusMethodNotAllowed)
		return
	}
	header := w.Header()
	header.Set("Content-Type", f.mediaType)
	header.Set("Cache-Control", f.cacheControl)
	header.Set("ETag", f.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.content))
}
