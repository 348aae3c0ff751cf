// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package endtoend

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/dovecotpush/caddy-dovecot-push/internal/apachetest"
	"github.com/dovecotpush/caddy-dovecot-push/internal/caddytestkit"
)

// imports are the configurations of Apache that the command is held to.
var imports = map[string]struct {
	files []string
	// stricter: it has what the command does not understand, and closes.
	stricter bool
	names    []string
}{
	"article":    {files: []string{"article.conf"}},
	"complete":   {files: []string{"complete.conf"}, names: []string{"mail.example.com", "webmail.example.com"}},
	"two-files":  {files: []string{"two-files/proxy.conf", "two-files/site.conf"}, names: []string{"post.example.org", "mail.example.org"}},
	"include":    {files: []string{"include/site.conf"}, names: []string{"post.example.org"}},
	"valid-user": {files: []string{"valid-user.conf"}},
	"define":     {files: []string{"define.conf"}, names: []string{"post.example.org"}},
	"failover":   {files: []string{"failover.conf"}},
	"traps":      {files: []string{"traps.conf"}, names: []string{"mail.example.com"}, stricter: true},
}

// sources ask. The networks of the files are moved to those of loopback.
var (
	sources = []string{"127.7.0.21", "127.7.0.5", "127.7.4.9", "127.2.0.66", "127.2.0.1", "127.3.0.7"}
	moved   = strings.NewReplacer("192.0.2.", "127.2.0.", "198.51.100.", "127.3.0.", "10.7.", "127.7.", "127.0.0.0/8", "127.7.0.0/16")
)

// requests are what both are asked for. Those of odd have paths that Caddy may
// refuse where Apache puts them in order.
var (
	requests = strings.Fields(`/ /index.html /health /admin /monitoring/jolokia /server-status /mail
		/preliminary /preliminary/ /preliminary/http-notify/v1/notify /preliminary/other /preliminary/other/x /preliminary/otherx /preliminaryx
		/ajax /ajax/ /ajax/login?action=login&x=%2f /ajaxx /ajax/x.gif /ajax/a+b;jsessionid=1.OX1?q=a+b /ajax/private /ajax/private/x
		/ajax/private/open /ajax/private/open/x /ajax/excluded/x /ajax/toolate/x /ajax/internal/x
		/ajax/limited/x /ajax/host/x /ajax/env /ajax/if/x /ajax/moved/x /secret/a.xml
		/appsuite /appsuite/ /appsuite/api /appsuite/api/login /appsuite/apix
		/servlet/x /servlet/axis2/services /servlet/axis2/services/OX /servlet/axis2/servicesx /servlet/any/x /servlet/starx
		/webservices /webservices/OXContextService /Microsoft-Server-ActiveSync?Cmd=Sync /plain/x /plain /old/x`)
	odd = strings.Fields(`/PRELIMINARY/x /Ajax/login /%70reliminary/x /ajax/a%20b /ajax/%C3%A4 /ajax/%E4 /ajax/%3Fx /ajax/%23x
		//preliminary/x /x/../preliminary/y /preliminary/../admin/x /preliminary/%2e%2e/admin /preliminary/..%2fadmin
		/preliminary;v=1/x /preliminary/..;/admin /ajax/..;/admin /ajax/..%5cadmin /ajax/./x /ajax//x
		/admin/../ajax/x /admin/..%2fajax/x /servlet/./axis2/services/x /servlet/%61xis2/services/y /servlet/axis2//services/x
		/ajax/x%00 /ajax/%252e%252e/admin /AJAX/private/x /ajax/excluded%2fx /ajax/PRIVATE/x /ajax/internal`)
)

// seen is what came out of a request.
type seen struct {
	Status int
	// Of what a node got.
	Proxied    bool
	Node       string
	Path, Host string
	Header     http.Header
}

// nodes are three that say what they got.
func nodes(t *testing.T) (addresses [3]string) {
	for i := range addresses {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host := r.Host
			if host == addresses[i] {
				host = "the node"
			}
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(seen{Proxied: true, Node: fmt.Sprint(i), Path: r.RequestURI, Host: host, Header: r.Header})
		}))
		t.Cleanup(server.Close)
		addresses[i] = server.Listener.Addr().String()
	}
	return addresses
}

// ask sends a request from an address.
func ask(t *testing.T, source, address, host, path string) seen {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}, Timeout: waitTimeout}
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return dialer.DialContext(ctx, network, address)
	}}
	defer transport.CloseIdleConnections()
	u := &url.URL{Scheme: "http", Host: address, Opaque: path}
	if strings.HasPrefix(path, "//") {
		u.Opaque = "//" + address + path
	}
	r := &http.Request{Method: http.MethodGet, URL: u, Host: host, Header: http.Header{"X-Real-Ip": {"10.0.0.1"}}}
	r.SetBasicAuth("pusher", "secret")
	resp, err := (&http.Client{
		Transport: transport, Timeout: waitTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}).Do(r.WithContext(t.Context()))
	require.NoError(t, err, path)
	defer resp.Body.Close()
	var s seen
	if resp.StatusCode == http.StatusOK {
		_ = json.NewDecoder(resp.Body).Decode(&s)
	}
	s.Status = resp.StatusCode
	return s
}

// importing is an Apache with a configuration, and a Caddy with what the command
// made of it.
type importing struct{ apache, caddy, admin, caddyfile string }

var (
	siteAddress = regexp.MustCompile(`(?m)^https?://.*\{$`)
	vhost       = regexp.MustCompile(`<VirtualHost \*:\d+>`)
	nodeAddress = regexp.MustCompile(`(?:127\.7\.1\.1([123]):8009|127\.0\.0\.1:1811([12]))`)
)

func startImported(t *testing.T, files []string, members [3]string) importing {
	t.Helper()
	testdata, err := filepath.Abs(filepath.Join("..", "migrate", "testdata"))
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "import") // Apache's user reads it
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	users := filepath.Join(dir, "users")
	require.NoError(t, os.WriteFile(users, []byte("pusher:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=\n"), 0o644))
	apachePort := apachetest.Port(t)
	forApache := filepath.Join(dir, "apache")
	forImport := filepath.Join(dir, "import")
	require.NoError(t, filepath.WalkDir(testdata, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() || filepath.Ext(path) != ".conf" {
			return err
		}
		name, err := filepath.Rel(testdata, path)
		if err != nil {
			return err
		}
		text := moved.Replace(readAll(t, path))
		text = nodeAddress.ReplaceAllStringFunc(text, func(found string) string {
			m := nodeAddress.FindStringSubmatch(found)
			return members[(m[1] + m[2])[0]-'1']
		})
		text = strings.ReplaceAll(text, "/etc/apache2/push.users", users)
		for _, to := range []string{filepath.Join(forImport, name), filepath.Join(forApache, name)} {
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(to, []byte(text), 0o644); err != nil {
				return err
			}
			text = vhost.ReplaceAllString(text, fmt.Sprintf("<VirtualHost *:%d>", apachePort))
		}
		return nil
	}))

	args := []string{"dovecot-push", "import"}
	var configs []string
	for _, file := range files {
		args = append(args, "--apache", filepath.Join(forImport, file))
		configs = append(configs, filepath.Join(forApache, file))
	}
	c := caddytestkit.New(t, "OX_LOGIN=l", "OX_PASSWORD=p", "NOTIFY_PASSWORD=n", "DOVEADM_API_SECRET=d")
	caddyfile, err := c.Command(args...)
	require.NoError(t, err, caddyfile)
	_, caddyfile, _ = strings.Cut(caddyfile, "# Made of")
	caddyfile = "# Made of" + caddyfile

	apachetest.Start(t, apachePort, filepath.Dir(configs[0]), configs...)
	address := freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	_, notifyPort, err := net.SplitHostPort(freeAddress(t))
	require.NoError(t, err)
	local := siteAddress.ReplaceAllStringFunc(caddyfile, func(line string) string {
		if strings.Contains(line, ":8008 ") || strings.Contains(line, ":8009 ") {
			return regexp.MustCompile(`:800[89]`).ReplaceAllString(line, ":"+notifyPort)
		}
		line = regexp.MustCompile(`:\d+`).ReplaceAllString(strings.ReplaceAll(line, "https:", "http:"), "")
		return regexp.MustCompile(`(http://[^, {]*)`).ReplaceAllString(line, "$1:"+port) + "\n\tbind 127.0.0.1"
	})
	local = strings.Replace(local, "{\n", "{\n\tskip_install_trust\n\tauto_https disable_redirects\n", 1)
	require.NoError(t, c.Run(local), "%s\n%s", local, c.Log())
	return importing{fmt.Sprintf("127.0.0.1:%d", apachePort), address, c.Admin, caddyfile}
}

// What Caddy does with an imported configuration is what Apache does with it:
// nobody comes in whom Apache refuses by the address, nothing is proxied that
// Apache does not proxy, and what is proxied arrives where it does with Apache.
func TestImportedCaddyfileAgainstApache(t *testing.T) {
	t.Parallel()
	for name, c := range imports {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members := nodes(t)
			both := startImported(t, c.files, members)
			for _, n := range c.names {
				assert.Regexp(t, `(?m)^http.*://`+regexp.QuoteMeta(n)+`\b`, both.caddyfile)
			}
			host := both.apache
			if len(c.names) > 0 {
				host = c.names[0]
			}
			proxied, refused := 0, 0
			apacheNodes, caddyNodes := make(map[string][]string), make(map[string][]string)
			for _, path := range slices.Concat(requests, odd) {
				for _, source := range sources {
					about := source + " " + path
					a, got := ask(t, source, both.apache, host, path), ask(t, source, both.caddy, host, path)
					if got.Proxied {
						require.True(t, a.Proxied, "%s: Apache answers %d, Caddy proxies it as %s\n%s", about, a.Status, got.Path, both.caddyfile)
						assert.Equal(t, decoded(a.Path), decoded(got.Path), about)
						assert.Equal(t, a.Host, got.Host, about)
						for _, key := range []string{"X-Real-Ip", "X-Frontend"} {
							assert.Equal(t, a.Header[key], got.Header[key], about)
						}
						proxied++
					} else if a.Status == http.StatusForbidden {
						refused++
					}
					if a.Proxied {
						apacheNodes[path] = append(apacheNodes[path], a.Node)
					}
					if got.Proxied {
						caddyNodes[path] = append(caddyNodes[path], got.Node)
					}
					if !c.stricter && slices.Contains(requests, path) {
						assert.Equal(t, a.Proxied, got.Proxied, "%s: Apache %d, Caddy %d", about, a.Status, got.Status)
						assert.Equal(t, a.Status, got.Status, about)
					}
				}
			}
			for path, used := range caddyNodes {
				if all := apacheNodes[path]; len(all) >= 4 {
					assert.Subset(t, all, used, path)
				}
			}
			t.Logf("proxied: %d, refused: %d", proxied, refused)
			if name != "article" { // which lets nobody in
				assert.Greater(t, proxied, 5)
			}
			assert.Greater(t, refused, 5)
		})
	}
}

// decoded is a request target without the ways to write it.
func decoded(target string) string {
	path, query, _ := strings.Cut(target, "?")
	if plain, err := url.PathUnescape(path); err == nil {
		path = plain
	}
	return path + "?" + query
}

// With one of two nodes down every request is answered, as with Apache.
func TestImportedFailover(t *testing.T) {
	t.Parallel()
	members := nodes(t)
	down := freeAddress(t)
	both := startImported(t, []string{"failover.conf"}, [3]string{down, members[1], members[2]})
	const path = "/preliminary/x"
	for range 20 {
		for _, address := range []string{both.apache, both.caddy} {
			got := ask(t, sources[0], address, address, path)
			assert.Equal(t, http.StatusOK, got.Status)
			assert.Equal(t, "1", got.Node)
		}
	}
}

// After all nodes were down, the first one that is back is asked at once, whatever
// retry says, as with Apache. Caddy holds what comes meanwhile for a moment.
func TestImportedFailoverOfAll(t *testing.T) {
	t.Parallel()
	nobody := [3]string{freeAddress(t), freeAddress(t), freeAddress(t)}
	both := startImported(t, []string{"failover.conf"}, nobody)
	const path = "/preliminary/x"
	for range 3 {
		assert.Equal(t, http.StatusServiceUnavailable, ask(t, sources[0], both.apache, both.apache, path).Status)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	back := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})}
	defer back.Close()
	wg.Go(func() { // once Caddy has found both down
		if !assert.Eventually(t, func() bool { return failing(both.admin) >= 2 }, waitTimeout, time.Millisecond) {
			return
		}
		l, err := net.Listen("tcp", nobody[1])
		if assert.NoError(t, err) {
			wg.Go(func() { _ = back.Serve(l) })
		}
	})
	assert.Equal(t, http.StatusNoContent, ask(t, sources[0], both.caddy, both.caddy, path).Status, "which came when all were down")
	for range 5 {
		for _, address := range []string{both.apache, both.caddy} {
			assert.Equal(t, http.StatusNoContent, ask(t, sources[0], address, address, path).Status)
		}
	}
}

// failing is how many nodes a Caddy has found down.
func failing(admin string) (n int) {
	resp, err := http.Get("http://" + admin + "/reverse_proxy/upstreams")
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	var upstreams []struct{ Fails int }
	_ = json.NewDecoder(resp.Body).Decode(&upstreams)
	for _, u := range upstreams {
		if u.Fails > 0 {
			n++
		}
	}
	return n
}

// A single node that is back after it was down is asked at once.
func TestImportedSingleNode(t *testing.T) {
	t.Parallel()
	down := freeAddress(t)
	both := startImported(t, []string{"define.conf"}, [3]string{down, down, down})
	const path, host = "/preliminary/x", "post.example.org"
	assert.Equal(t, http.StatusBadGateway, ask(t, sources[0], both.caddy, host, path).Status)
	l, err := net.Listen("tcp", down)
	require.NoError(t, err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	assert.Equal(t, http.StatusNoContent, ask(t, sources[0], both.caddy, host, path).Status)
}
