// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package caddymodule

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/dovecotpush/caddy-dovecot-push/caddymodule/option"
	"github.com/dovecotpush/caddy-dovecot-push/handlers/guard"
	"github.com/dovecotpush/caddy-dovecot-push/internal/lograte"
)

// Access tells which peers may come in.
type Access struct {
	// Source networks: addresses, CIDRs, `private_ranges`, `unix` (the peers of
	// a Unix socket that a server listens on, unless `client_ip` is set), and the partial
	// forms of Apache (`192.168.0.`, `10.1`). Placeholders are replaced when
	// the configuration is loaded, and may hold several, separated by blanks.
	// Nobody comes in who is in neither `allow` nor `allow_sources`.
	Allow []string `json:"allow,omitempty"`

	// Lists of networks that other modules provide, asked on each request.
	AllowSourcesRaw []json.RawMessage `json:"allow_sources,omitempty" caddy:"namespace=http.ip_sources inline_key=source"`

	// Judge the client address that Caddy found by its option trusted_proxies,
	// in place of the peer of the connection. Only safe behind a proxy that
	// you run, and with trusted_proxies_strict.
	ClientIP bool `json:"client_ip,omitempty"`
}

// strangersLimit is how many lines of the log strangers can cause.
var strangersLimit = lograte.Limit{Burst: 3, Every: 10 * time.Second}

// gate decides about requests for guarded paths.
type gate struct {
	paths *guard.Paths
	guard *guard.Guard
	path  string // for the log
	log   *zap.Logger
	quiet *lograte.Limiter[struct{}]
}

// gate returns what decides about paths.
func (a *Access) gate(ctx caddy.Context, paths ...string) (*gate, error) {
	g := &gate{path: paths[0], log: ctx.Logger(), quiet: lograte.New[struct{}](strangersLimit)}
	var err error
	if g.paths, err = guard.NewPaths(paths...); err != nil {
		return nil, err
	}
	g.guard, err = a.guard(ctx, g.log, g.path)
	return g, err
}

// refuses reports whether a request may not pass: its path is guarded, and its
// source is not allowed. It has answered the request then. An error would lead
// it to Caddy's error routes, which may hand it to the very backend that the
// path is guarded for.
func (g *gate) refuses(w http.ResponseWriter, r *http.Request) bool {
	if !matchesAnyPath(g.paths, r) {
		return false
	}
	verdict := g.guard.Judge(r)
	if verdict == guard.Allowed {
		return false
	}
	observeGuard(verdict)
	if ok, suppressed := g.quiet.Allow(struct{}{}); ok {
		fields := []zap.Field{
			zap.String("path", g.path), zap.String("remote", r.RemoteAddr), zap.Stringer("verdict", verdict), zap.Int64("not_logged_since", suppressed),
		}
		if g.guard.Peer != nil { // the address that was judged is not that of the connection
			peer, _ := g.guard.Peer(r)
			fields = append(fields, zap.Stringer("client_ip", peer))
		}
		g.log.Warn("refused a request from outside the allowed networks", fields...)
	}
	w.WriteHeader(verdict.Status())
	return true
}

// peer is the address that is judged; not valid if it is none.
func (g *gate) peer(r *http.Request) netip.Addr {
	if g.guard.Peer != nil {
		peer, _ := g.guard.Peer(r)
		return peer
	}
	peer, _ := netip.ParseAddrPort(r.RemoteAddr)
	return peer.Addr().Unmap()
}

// matchesAnyPath looks at the request as it is now and as it came: a rewrite
// in front of the handler must neither hide a guarded path nor reveal one.
func matchesAnyPath(paths *guard.Paths, r *http.Request) bool {
	if paths.Match(r.URL) {
		return true
	}
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	return ok && original.URL != nil && *original.URL != *r.URL && paths.Match(original.URL)
}

// guard makes what decides about sources. path is for the warnings only.
func (a *Access) guard(ctx caddy.Context, log *zap.Logger, path string) (*guard.Guard, error) {
	var entries []string
	for _, entry := range a.Allow {
		v, err := option.Replace(entry)
		if err != nil {
			return nil, fmt.Errorf("allow: %w", err)
		}
		entries = append(entries, strings.Fields(v)...)
	}
	networks, err := guard.ParseNetworks(entries)
	if err != nil {
		return nil, fmt.Errorf("allow: %w", err)
	}
	g := &guard.Guard{Allow: networks}
	if a.AllowSourcesRaw != nil {
		mods, err := ctx.LoadModule(a, "AllowSourcesRaw")
		if err != nil {
			return nil, fmt.Errorf("loading the sources of allowed networks: %w", err)
		}
		for _, mod := range mods.([]any) {
			g.Sources = append(g.Sources, mod.(caddyhttp.IPRangeSource).GetIPRanges)
		}
	}
	if len(entries) == 0 && len(g.Sources) == 0 {
		log.Warn("nobody is allowed, because no allow is configured", zap.String("path", path))
	}
	if a.ClientIP {
		g.Peer = clientIP
		if clientIPForgeable(ctx) {
			log.Warn("client_ip can be forged: "+forgeable, zap.String("path", path))
		}
	}
	return g, nil
}

// clientIP is the address that Caddy's server found for the request.
func clientIP(r *http.Request) (netip.Addr, bool) {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(ip)
	return addr, err == nil
}

// forgeable is why the client address that Caddy found can be a lie, and what
// to do about it.
const forgeable = "without trusted_proxies_strict Caddy believes the left-most address of X-Forwarded-For, " +
	"which the client itself can write; set trusted_proxies and trusted_proxies_strict in the servers option"

// clientIPForgeable reports whether the server that a handler is provisioned
// for takes the client address from where the client can write it. Caddy has
// cleared TrustedProxiesRaw by then: whether there are trusted proxies shows in
// a field that is not exported. Where that is gone, there may be some.
func clientIPForgeable(ctx caddy.Context) bool {
	server, ok := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if !ok || server.TrustedProxiesStrict != 0 {
		return false
	}
	proxies := reflect.ValueOf(server).Elem().FieldByName("trustedProxies")
	return !proxies.IsValid() || !proxies.IsNil()
}
