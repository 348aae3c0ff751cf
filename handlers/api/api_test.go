// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPageAndAPI(t *testing.T) {
	s := newSite(t, nil)
	for path, want := range map[string]string{
		"/": "text/html; charset=utf-8", "/app.js": "text/javascript; charset=utf-8", "/sw.js": "text/javascript; charset=utf-8",
		"/manifest.webmanifest": "application/manifest+json", "/api/config": "application/json", "/api/openapi.yaml": "application/yaml",
	} {
		_, a := s.do(t, http.MethodGet, path)
		assert.Equal(t, http.StatusOK, a.status, path)
		assert.Equal(t, want, a.header.Get("Content-Type"), path)
		_, a = s.do(t, http.MethodHead, path)
		assert.Equal(t, http.StatusOK, a.status, path)
		assert.Empty(t, a.body)
	}
	for _, path := range []string{"/apix", "/nothing", "/api", "/api/", "/api//config", "/API/config"} {
		_, a := s.do(t, http.MethodGet, path)
		assert.Equal(t, http.StatusNotFound, a.status, path)
	}
}

// What a page of another site can make a browser send changes nothing, whatever
// it calls itself.
func TestOtherSitesChangeNothing(t *testing.T) {
	s := newSite(t, nil)
	cookie := s.signIn(t, alice)
	signIn := `{"username":"bob@example.com","password":"builder"}`
	ours, err := url.Parse(s.URL)
	require.NoError(t, err)
	for name, what := range map[string][]any{
		"a form":                      {header{"Sec-Fetch-Site", "cross-site"}, header{"Content-Type", "application/x-www-form-urlencoded"}, "username=bob"},
		"a form of JSON":              {header{"Sec-Fetch-Site", "cross-site"}, header{"Content-Type", "text/plain"}, signIn},
		"a script":                    {header{"Sec-Fetch-Site", "cross-site"}, signIn},
		"a script of another host":    {header{"Sec-Fetch-Site", "same-site"}, signIn},
		"a script in an old browser":  {header{"Origin", "https://evil.example"}, signIn},
		"a sandboxed page":            {header{"Origin", "null"}, signIn},
		"the same host, another port": {header{"Origin", "https://" + ours.Hostname() + ":1"}, signIn},
		"a form in an old browser":    {header{"Content-Type", "text/plain"}, signIn},
		"no type":                     {header{"Content-Type", "x"}, signIn},
	} {
		_, a := s.do(t, http.MethodPost, "/api/session", append(what, cookie)...)
		assert.Contains(t, []int{http.StatusForbidden, http.StatusUnsupportedMediaType}, a.status, name)
		assert.Nil(t, a.cookie, name)
	}
	for _, site := range []string{"cross-site", "same-site"} {
		_, a := s.do(t, http.MethodDelete, "/api/session", header{"Sec-Fetch-Site", site}, cookie)
		assert.Equal(t, http.StatusForbidden, a.status)
	}
	_, a := s.do(t, http.MethodGet, "/api/session", cookie)
	require.Equal(t, http.StatusOK, a.status, "still signed in")

	for name, what := range map[string][]any{
		"our page":                   {header{"Sec-Fetch-Site", "same-origin"}, signIn},
		"our page in an old browser": {header{"Origin", s.URL}, signIn},
		"a program":                  {signIn},
		"with a charset":             {header{"Content-Type", "application/json; charset=utf-8"}, signIn},
	} {
		_, a := s.do(t, http.MethodPost, "/api/session", what...)
		assert.Equal(t, http.StatusOK, a.status, name)
		assert.NotNil(t, a.cookie, name)
	}
}

// A body of a size that is not told beforehand is read no further than may be.
func TestLargeBodies(t *testing.T) {
	s := newSite(t, nil)
	for method, path := range map[string]string{"POST": "/api/session", "PATCH": "/api/subscriptions/x"} {
		r := s.request(t, method, path, login{alice, "wonderland"})
		r.Header.Set("Content-Type", "application/json")
		r.Body = io.NopCloser(strings.NewReader(`{"name":"` + strings.Repeat("x", 1<<20) + `"}`))
		r.ContentLength = -1
		resp, err := s.Client().Transport.RoundTrip(r)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode, path)
	}
}
