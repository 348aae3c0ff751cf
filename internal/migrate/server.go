// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package migrate

import (
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// server is a VirtualHost, or the main server if there is none.
type server struct {
	where    string
	names    []string
	port     int
	tls      bool
	tlsSet   bool
	sections []section // Location and LocationMatch, in the order of the files
	proxies  []section // Proxy and ProxyMatch
	passes   []pass    // ProxyPass
	closings []closing
	answers  []answer // RedirectMatch
	headers  []string // request_header, as a Caddyfile has it
	settings proxySettings

	balancers map[string]*balancer
}

// proxySettings apply to everything that is proxied.
type proxySettings struct {
	preserveHost bool
	timeout      string
	reverse      bool // there is a ProxyPassReverse
}

// pass is one ProxyPass: its path and its target. Without a target, the path is
// not proxied.
type pass struct {
	path, target string
	params       []string
	where        string
}

// closing is a pattern of paths that Apache may answer without the proxy.
type closing struct {
	where, pattern string
}

// answer is a redirect.
type answer struct {
	where, pattern, target string
	status                 int
}

// harmless are directives that change neither who is allowed, nor what is proxied
// where, nor what nodes and people see.
var harmless = func() map[string]bool {
	all := make(map[string]bool)
	for name := range strings.FieldsSeq(`
		acceptfilter accessfilename allowoverride allowoverridelist asyncrequestworkerfactor
		coredumpdirectory customlog directory directorymatch directoryindex enablemmap enablesendfile
		errorlog errorlogformat extendedstatus files filesmatch gracefulshutdowntimeout group hostnamelookups
		keepalive keepalivetimeout listenbacklog loadfile loadmodule logformat logiotrackttfb loglevel
		maxconnectionsperchild maxkeepaliverequests maxmemfree maxrequestsperchild maxrequestworkers maxclients
		maxspareservers maxsparethreads mimemagicfile minspareservers minsparethreads mutex namevirtualhost
		options pidfile proxybadheader proxyiobuffersize proxyreceivebuffersize proxystatus proxyvia
		reallockfile rewritelog rewriteloglevel scoreboardfile serveradmin serverlimit serverroot serversignature
		servertokens setenvifnocasedefault sslciphersuite sslcompression ssldhparameters sslhonorcipherorder sslopensslconfcmd
		ssloptions sslpassphrasedialog sslprotocol sslrandomseed sslsessioncache sslsessioncachetimeout sslsessiontickets
		sslsessionticketkeyfile sslstaplingcache sslusestapling sslstaplingrespondertimeout sslstaplingreturnrespondererrors
		sslproxycachain sslproxyengine startservers startthreads
		threadlimit threadsperchild threadstacksize traceenable transferlog typesconfig usecanonicalname
		usecanonicalphysicalport user vhostcombinedlog bufferedlogs
		addicon addiconbyencoding addiconbytype addalt defaulticon indexoptions indexignore headername readmename
		addtype addlanguage addcharset addencoding addhandler languagepriority forcelanguagepriority adddefaultcharset filetag
		authtype authname authbasicprovider authuserfile authgroupfile authdigestprovider authdigestdomain
		authldapurl authldapbinddn authldapbindpassword authdbmuserfile authdbmgroupfile authbasicauthoritative
		authnprovideralias authzprovideralias
		browsermatch browsermatchnocase
	`) {
		all[name] = true
	}
	return all
}()

// peer are prefixes of directives that decide which address Apache sees.
var peer = []string{"remoteip", "rpaf", "cloudflare", "mef", "extractforwarded", "haproxyprotocol", "proxyprotocol"}

// proxyVariables are environment variables that configure the connections of the
// proxy, and nothing else.
var proxyVariables = []string{
	"proxy-initial-not-pooled", "proxy-sendchunked", "proxy-sendchunks", "proxy-sendcl", "proxy-chain-auth", "proxy-interim-response",
	"proxy-nokeepalive", "force-proxy-request-1.0", "downgrade-1.0", "force-response-1.0", "nokeepalive", "no-gzip", "gzip-only-text/html",
}

// serverDirective reads a directive outside of sections.
func (r *apacheReader) serverDirective(s *server, d directive) {
	rewrite := rewriting{reader: r, server: s}
	switch d.name {
	case "servername", "serveralias":
		for _, name := range d.args {
			if strings.ContainsAny(name, "*?") {
				r.source.leave(d.where, "%s: a name with a wildcard is not taken over", name)
			} else if name = hostOf(name); !slices.Contains(s.names, name) {
				s.names = append(s.names, name)
			}
		}
	case "listen":
		if s.port == 0 && len(d.args) > 0 {
			s.port = portOf(d.args[0])
		}
	case "sslengine":
		s.tlsSet, s.tls = true, len(d.args) == 1 && !strings.EqualFold(d.args[0], "off")
	case "sslverifyclient":
		if len(d.args) == 1 && strings.EqualFold(d.args[0], "require") {
			r.refuse(d, "it keeps out who has no certificate: write it as client_auth into Caddy's tls by hand, and leave it out here")
		} else if len(d.args) != 1 || !strings.EqualFold(d.args[0], "none") {
			r.source.leave(d.where, "%s is not taken over", &d)
		}
	case "location", "locationmatch":
		r.section(&s.sections, d, d.name == "locationmatch")
	case "proxy", "proxymatch":
		if name, ok := balancerName(first(d.args)); ok && d.name == "proxy" {
			r.balancer(name).read(r, d)
		}
		r.section(&s.proxies, d, d.name == "proxymatch")
	case "balancermember":
		if name, ok := balancerName(first(d.args)); ok && len(d.args) > 1 {
			d.args = d.args[1:]
			r.balancer(name).directive(r, d)
		}
	case "proxyset":
		if name, ok := balancerName(first(d.args)); ok {
			d.args = d.args[1:]
			r.balancer(name).directive(r, d)
		} else {
			r.source.leave(d.where, "%s is not taken over", &d)
		}
	case "proxypass":
		if p, ok := r.proxyPass(d, ""); ok {
			s.passes = append(s.passes, p)
		}
	case "proxypassmatch":
		r.close(s, d, first(d.args), "what a ProxyPassMatch proxies, or keeps from the proxy, is not taken over")
	case "proxypassreverse":
		s.settings.reverse = true
	case "proxypreservehost":
		s.settings.preserveHost = on(d)
	case "proxytimeout":
		s.settings.timeout = seconds(first(d.args))
	case "timeout":
		if s.settings.timeout == "" {
			s.settings.timeout = seconds(first(d.args))
		}
	case "proxyrequests":
		if on(d) {
			r.source.leave(d.where, "%s: Caddy is no forward proxy", &d)
		}
	case "proxypassinherit":
		if !on(d) {
			r.refuse(d, "it is not understood")
		}
	case "sslproxyverify", "sslproxycheckpeercn", "sslproxycheckpeername", "sslproxycheckpeerexpire", "sslproxycacertificatefile", "sslproxycacertificatepath":
		r.source.leave(d.where, "%s is not taken over: Caddy verifies the certificate of a node by what the system trusts", &d)
	case "setenv", "unsetenv", "setenvif", "setenvifnocase", "passenv":
		r.environment(d, func() {
			r.close(s, d, "", "it may keep requests from the proxy")
		})
	case "requestheader":
		r.requestHeader(&s.headers, d)
	case "rewriteengine", "rewritecond", "rewriterule", "rewriteoptions", "rewritebase", "rewritemap":
		r.rewrites(s, rewrite, d)
	case "redirectmatch":
		r.redirectMatch(s, d)
	case "if", "elseif", "else":
		r.close(s, d, "", "it may refuse requests or answer them, and is not understood")
	default:
		r.other(d)
	}
}

// other reports a directive that is not known to be harmless, and refuses one that
// decides about the peer.
func (r *apacheReader) other(d directive) {
	for _, prefix := range peer {
		if strings.HasPrefix(d.name, prefix) {
			r.refuse(d, "it decides whose address Apache looks at, which is not taken over: "+byHand(d))
			return
		}
	}
	if !harmless[d.name] {
		r.source.leave(d.where, "%s is not taken over", &d)
	}
}

// byHand returns what to write into the Caddyfile instead of a directive that
// decides about the peer. Apache and Caddy differ if a proxy names another proxy
// as the client: the allowed addresses would not be the same.
func byHand(d directive) string {
	const out, guards = "leave it out here; in the Caddyfile, ", ", and client_ip in each dovecot_push_guard and dovecot_push_notify. Until then, all come in from behind a proxy whose own address is allowed"
	values := strings.Join(d.args, " ")
	switch d.name {
	case "remoteipheader":
		return out + "write client_ip_headers " + values + " and trusted_proxies_strict into the global option servers, with trusted_proxies" + guards
	case "remoteipinternalproxy", "remoteiptrustedproxy":
		return out + "write trusted_proxies static " + values + " and trusted_proxies_strict into the global option servers" + guards
	case "remoteipinternalproxylist", "remoteiptrustedproxylist":
		return out + "write trusted_proxies static, with the addresses in " + values + ", and trusted_proxies_strict into the global option servers" + guards
	case "remoteipproxyprotocol":
		return out + "write proxy_protocol, with allow and the addresses of the proxies, and tls into the option listener_wrappers of the global option servers"
	case "remoteipproxiesheader", "remoteipproxyprotocolexceptions":
		return "leave it out here"
	default:
		return out + "write trusted_proxies and trusted_proxies_strict into the global option servers" + guards
	}
}

// environment reads a directive about environment variables.
func (r *apacheReader) environment(d directive, closes func()) {
	text := strings.ToLower(strings.Join(d.args, " "))
	switch {
	case strings.Contains(text, "no-proxy"):
		closes()
	case (d.name == "setenv" || d.name == "unsetenv") && slices.Contains(proxyVariables, strings.ToLower(first(d.args))):
	default:
		r.source.leave(d.where, "%s is not taken over", &d)
	}
}

// requestHeader reads a RequestHeader that Caddy has an equivalent of.
func (r *apacheReader) requestHeader(headers *[]string, d directive) {
	args := d.args
	if len(args) > 0 && strings.EqualFold(args[0], "early") {
		args = args[1:]
	}
	switch {
	case len(args) == 2 && strings.EqualFold(args[0], "unset"):
		*headers = append(*headers, "-"+token(args[1]))
	case len(args) == 3 && strings.EqualFold(args[0], "set") && !strings.ContainsAny(args[2], "%{}"):
		*headers = append(*headers, token(args[1])+" "+token(args[2]))
	default:
		r.source.leave(d.where, "%s is not taken over", &d)
	}
}

// redirectMatch reads a redirect. It applies only to what is not proxied.
func (r *apacheReader) redirectMatch(s *server, d directive) {
	args, status := d.args, 302
	if len(args) == 3 {
		named := map[string]int{"permanent": 301, "temp": 302, "seeother": 303, "301": 301, "302": 302, "303": 303, "307": 307, "308": 308}
		status = named[strings.ToLower(args[0])]
		args = args[1:]
	}
	if len(args) != 2 || status == 0 || strings.ContainsAny(args[1], "$%{} ") || !compiles(args[0]) {
		r.source.leave(d.where, "%s is not taken over", &d)
		return
	}
	s.answers = append(s.answers, answer{d.where, args[0], args[1], status})
}

func compiles(pattern string) bool {
	_, err := regexp.Compile(pattern)
	return err == nil && !strings.ContainsAny(pattern, "`{}")
}

// close answers 404 to the paths that a pattern matches, or to all without one.
func (r *apacheReader) close(s *server, d directive, pattern, why string) {
	if !compiles(pattern) {
		pattern = ""
	}
	if pattern == "" {
		why += "; nothing is proxied there"
	} else {
		why += "; what matches is not proxied"
	}
	r.source.leave(d.where, "%s: %s", &d, why)
	s.closings = append(s.closings, closing{d.where, pattern})
}

// proxyPass reads a ProxyPass. within is the path of the Location around it.
func (r *apacheReader) proxyPass(d directive, within string) (pass, bool) {
	args := d.args
	p := pass{path: within, where: d.where}
	if within == "" || len(args) > 1 && strings.HasPrefix(args[0], "/") { // a section has said the path already
		if len(args) < 2 {
			r.source.leave(d.where, "%s is not understood", &d)
			return p, false
		}
		if within == "" {
			p.path = args[0]
		}
		args = args[1:]
	}
	if len(args) == 0 || !strings.HasPrefix(p.path, "/") || strings.ContainsAny(p.path, "{}`\" \t") {
		r.source.leave(d.where, "%s is not understood", &d)
		return p, false
	}
	if d.unknown != "" {
		r.refuse(d, d.unknown+" is defined in none of these files: give the file with its Define, too")
		return p, false
	}
	if args[0] != "!" {
		p.target = args[0]
		p.params = args[1:]
	}
	return p, true
}

func on(d directive) bool { return strings.EqualFold(first(d.args), "on") }

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// seconds returns a timeout of Apache, in seconds or with a unit, as Caddy writes
// it. It is empty if text is no timeout.
func seconds(text string) string {
	number := strings.TrimRight(text, "abcdefghijklmnopqrstuvwxyz")
	unit := text[len(number):]
	if n, err := strconv.Atoi(number); err != nil || n <= 0 {
		return ""
	}
	caddy, ok := map[string]string{"": "s", "s": "s", "ms": "ms", "mi": "m", "min": "m", "h": "h", "hrs": "h"}[unit]
	if !ok {
		return ""
	}
	return number + caddy
}

// hostOf returns the host of a ServerName. Scheme and port only serve for links.
func hostOf(name string) string {
	if _, after, ok := strings.Cut(name, "://"); ok {
		name = after
	}
	if host, _, err := net.SplitHostPort(name); err == nil && !strings.Contains(host, ":") {
		return host
	}
	return name
}

// portOf returns the port of an address of Listen or VirtualHost, or 0.
func portOf(address string) int {
	if _, port, err := net.SplitHostPort(address); err == nil {
		address = port
	}
	number, err := strconv.ParseUint(address, 10, 16)
	if err != nil {
		return 0
	}
	return int(number)
}
