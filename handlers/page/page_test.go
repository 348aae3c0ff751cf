// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/png"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func get(h http.Handler, method, path string, header ...string) *http.Response {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, resp *http.Response) string {
	t.Helper()
	var out bytes.Buffer
	_, err := out.ReadFrom(resp.Body)
	require.NoError(t, err)
	return out.String()
}

// source returns the embedded files whose names end with one of the suffixes.
func source(t *testing.T, suffixes ...string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	require.NoError(t, fs.WalkDir(app, "app", func(name string, entry fs.DirEntry, err error) error {
		for _, suffix := range suffixes {
			if err == nil && !entry.IsDir() && strings.HasSuffix(name, suffix) {
				content, err := app.ReadFile(name)
				require.NoError(t, err)
				files[name] = string(content)
			}
		}
		return err
	}))
	require.NotEmpty(t, files)
	return files
}

func TestFiles(t *testing.T) {
	h := New(Options{})
	for path, mediaType := range map[string]string{
		"/":                       "text/html; charset=utf-8",
		"/app.css":                "text/css; charset=utf-8",
		"/app.js":                 "text/javascript; charset=utf-8",
		"/js/i18n.js":             "text/javascript; charset=utf-8",
		"/sw.js":                  "text/javascript; charset=utf-8",
		"/manifest.webmanifest":   "application/manifest+json",
		"/icons/icon.svg":         "image/svg+xml",
		"/icons/maskable-512.png": "image/png",
	} {
		t.Run(path, func(t *testing.T) {
			resp := get(h, http.MethodGet, path)
			require.Equal(t, http.StatusOK, resp.StatusCode)
			assert.Equal(t, mediaType, resp.Header.Get("Content-Type"))
			content := body(t, resp)
			assert.NotEmpty(t, content)

			head := get(h, http.MethodHead, path)
			assert.Equal(t, http.StatusOK, head.StatusCode)
			assert.Equal(t, fmt.Sprint(len(content)), head.Header.Get("Content-Length"))
			assert.Empty(t, body(t, head))

			again := get(h, http.MethodGet, path, "If-None-Match", resp.Header.Get("ETag"))
			assert.Equal(t, http.StatusNotModified, again.StatusCode)
			assert.Equal(t, http.StatusOK, get(h, http.MethodGet, path, "If-None-Match", `"other"`).StatusCode)
		})
	}
}

// What belongs together is asked for each time; only icons are kept.
func TestCaching(t *testing.T) {
	h := New(Options{})
	for name := range load(Options{}) {
		want := "no-cache"
		if strings.HasPrefix(name, "icons/") {
			want = "max-age=86400"
		}
		assert.Equal(t, want, get(h, http.MethodGet, "/"+name).Header.Get("Cache-Control"), name)
	}
	named := New(Options{Name: "Other"})
	for _, path := range []string{"/", "/manifest.webmanifest"} {
		assert.NotEqual(t, get(h, http.MethodGet, path).Header.Get("ETag"), get(named, http.MethodGet, path).Header.Get("ETag"), path)
	}
}

func TestRefusals(t *testing.T) {
	h := New(Options{})
	for _, path := range []string{"/nothing", "/js", "/js/", "/index.html", "/../page.go", "/app/app.js", "//app.js"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.URL.Path = path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		assert.Equal(t, http.StatusNotFound, w.Code, path)
		assert.NotEmpty(t, w.Header().Get("Content-Security-Policy"), path)
	}
	resp := get(h, http.MethodPost, "/")
	assert.Equal(t, http.StatusMethodNotAllowed, resp.StatusCode)
	assert.Equal(t, "GET, HEAD", resp.Header.Get("Allow"))
}

func TestHeaders(t *testing.T) {
	h := New(Options{})
	for name := range load(Options{}) {
		header := get(h, http.MethodGet, "/"+name).Header
		assert.Equal(t, "nosniff", header.Get("X-Content-Type-Options"), name)
		assert.Equal(t, "no-referrer", header.Get("Referrer-Policy"), name)
		assert.Equal(t, "same-origin", header.Get("Cross-Origin-Opener-Policy"), name)
		assert.Equal(t, "same-origin", header.Get("Cross-Origin-Resource-Policy"), name)
		assert.Contains(t, header.Get("Permissions-Policy"), "camera=()", name)
		policy := header.Get("Content-Security-Policy")
		for _, directive := range []string{
			"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "base-uri 'none'",
			"form-action 'none'", "frame-ancestors 'none'", "require-trusted-types-for 'script'",
		} {
			assert.Contains(t, strings.Split(policy, "; "), directive, name)
		}
		assert.NotContains(t, policy, "unsafe", name)
	}
}

func TestName(t *testing.T) {
	const name = `Mail of <b>"Müller"</b> & Co`
	h := New(Options{Name: name})
	document := body(t, get(h, http.MethodGet, "/"))
	assert.Contains(t, document, "<title>Mail of &lt;b&gt;")
	assert.NotContains(t, document, "<b>")
	assert.NotContains(t, document, `data-t="name"`)
	var manifest struct {
		Name      string
		ShortName string `json:"short_name"`
	}
	require.NoError(t, json.Unmarshal([]byte(body(t, get(h, http.MethodGet, "/manifest.webmanifest"))), &manifest))
	assert.Equal(t, name, manifest.Name)
	assert.Equal(t, name, manifest.ShortName)

	document = body(t, get(New(Options{}), http.MethodGet, "/"))
	assert.Contains(t, document, `<h1 data-t="name">New mail</h1>`)
}

// The icons are there, and as large as the manifest says.
func TestIcons(t *testing.T) {
	h := New(Options{})
	var manifest struct {
		Icons []struct{ Src, Sizes, Type, Purpose string }
	}
	require.NoError(t, json.Unmarshal([]byte(body(t, get(h, http.MethodGet, "/manifest.webmanifest"))), &manifest))
	sizes := map[string]string{"icons/apple-touch-icon.png": "180x180", "icons/badge-96.png": "96x96"}
	purposes := make(map[string]bool)
	for _, icon := range manifest.Icons {
		purposes[icon.Purpose] = true
		if icon.Type == "image/png" {
			sizes[icon.Src] = icon.Sizes
		}
		assert.Equal(t, icon.Type, get(h, http.MethodGet, "/"+icon.Src).Header.Get("Content-Type"), icon.Src)
	}
	assert.True(t, purposes["maskable"] && purposes[""])
	for name, want := range sizes {
		config, err := png.DecodeConfig(get(h, http.MethodGet, "/"+name).Body)
		require.NoError(t, err, name)
		assert.Equal(t, want, fmt.Sprintf("%dx%d", config.Width, config.Height), name)
	}
}

// Every file that the page or another file asks for is there, and all of them
// are asked for relative to the page, so that it works below any path.
func TestReferences(t *testing.T) {
	files := load(Options{})
	reference := regexp.MustCompile(`(?:from |import |href=|src=|register\()['"]([^'"#{]+)['"]|'((?:icons|js)/[^']+)'`)
	for name, content := range source(t, ".html", ".js") {
		for _, m := range reference.FindAllStringSubmatch(content, -1) {
			asked := m[1] + m[2]
			assert.False(t, strings.HasPrefix(asked, "/") || strings.Contains(asked, ":"), "%s asks for %s", name, asked)
			base := "."
			if strings.HasPrefix(asked, ".") {
				base = path.Dir(strings.TrimPrefix(name, "app/"))
			}
			assert.Contains(t, files, path.Join(base, asked), "%s asks for %s", name, asked)
		}
	}
}

// The policy forbids it; so nobody tries.
func TestNothingIsInline(t *testing.T) {
	for name, content := range source(t, ".html", ".svg") {
		assert.NotRegexp(t, `(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script[^>]*>[^<]`, content, name)
	}
	for name, content := range source(t, ".js") {
		assert.NotRegexp(t, `innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function`, content, name)
	}
}

// The page works on iOS 16.4, the first that can notify. What came later is not there.
func TestOldestBrowser(t *testing.T) {
	for name, content := range source(t, ".js", ".css") {
		assert.NotRegexp(t, `AbortSignal\.any|withResolvers|fromAsync|[oO]bject\.groupBy|Map\.groupBy|URL\.(parse|canParse)|RegExp\.escape|Iterator\.|toWellFormed\(`, content, name)
		assert.NotRegexp(t, `light-dark\(|@starting-style|@scope|text-wrap|field-sizing|anchor-name|\n\t+&`, content, name)
	}
}

func TestFilesNameTheirLicense(t *testing.T) {
	for name, content := range source(t, ".html", ".css", ".js", ".svg") {
		head := strings.SplitAfterN(content, "\n", 4)[:3]
		assert.Contains(t, strings.Join(head, ""), "Copyright The caddy-dovecot-push Authors", name)
		assert.Contains(t, strings.Join(head, ""), "SPDX-License-Identifier: Apache-2.0", name)
	}
}
