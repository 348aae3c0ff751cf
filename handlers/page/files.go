// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"io/fs"
	"path"
)

//go:embed app
var app embed.FS

// mediaTypes are those of the files: what the machine thinks of them (package
// mime reads its configuration) does not matter.
var mediaTypes = map[string]string{
	".css":         "text/css; charset=utf-8",
	".html":        "text/html; charset=utf-8",
	".js":          "text/javascript; charset=utf-8",
	".png":         "image/png",
	".svg":         "image/svg+xml",
	".webmanifest": "application/manifest+json",
}

const (
	// revalidate is for what belongs together: after an update nobody runs
	// half of the old page. The ETag makes asking cheap.
	revalidate = "no-cache"
	// aDay is for icons.
	aDay = "max-age=86400"
)

type file struct {
	content                       []byte
	mediaType, cacheControl, etag string
}

// load reads all files, by their path below app; the page itself is "". What
// is embedded is known to be well-formed, so that errors are bugs.
func load(o Options) map[string]file {
	files := make(map[string]file)
	err := fs.WalkDir(app, "app", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := app.ReadFile(name)
		if err != nil {
			return err
		}
		rel, cacheControl := name[len("app/"):], revalidate
		switch path.Ext(rel) {
		case ".html":
			rel, content = "", document(content, o)
		case ".css":
			if o.Accent != nil {
				content = append(content, accentRule(*o.Accent)...)
			}
		case ".webmanifest":
			content = manifest(content, o)
		case ".png", ".svg":
			cacheControl = aDay
		}
		sum := sha256.Sum256(content)
		files[rel] = file{
			content: content, mediaType: mediaTypes[path.Ext(name)], cacheControl: cacheControl,
			etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`,
		}
		return nil
	})
	if err != nil {
		panic(err)
	}
	return files
}

// document is the page with what the operator has for it.
func document(source []byte, o Options) []byte {
	values := struct {
		Options
		Translate bool // whether the page may call itself otherwise
		Footer    bool
	}{o, o.Name == "", o.HelpURL+o.PrivacyURL+o.ImprintURL != ""}
	values.Name = cmp.Or(o.Name, DefaultName)
	values.Logo = cmp.Or(o.Logo, "icons/icon.svg")
	var out bytes.Buffer
	if err := template.Must(template.New("").Parse(string(source))).Execute(&out, values); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// manifest is the web app manifest with the operator's name for the page.
func manifest(source []byte, o Options) []byte {
	var members map[string]any
	if err := json.Unmarshal(source, &members); err != nil {
		panic(err)
	}
	name := cmp.Or(o.Name, DefaultName)
	members["name"], members["short_name"] = name, name
	content, err := json.MarshalIndent(members, "", "\t")
	if err != nil {
		panic(err)
	}
	return content
}
