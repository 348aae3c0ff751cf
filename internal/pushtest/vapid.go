// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package pushtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log"
	"math/big"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// quiet keeps broken connections, which tests cause, out of their output.
var quiet = log.New(io.Discard, "", 0)

// authorize returns 0 if r comes from the server with the given public key,
// else what to answer (RFC 8292, section 4.2).
func (s *Service) authorize(r *http.Request, serverKey string) int {
	authorization := r.Header.Get("Authorization")
	token, key, ok := parseAuthorization(authorization)
	switch {
	case !ok:
		return http.StatusUnauthorized
	case key != serverKey:
		return http.StatusForbidden
	}
	if until, known := s.tokens.Load(authorization); known && time.Now().Before(until.(time.Time)) {
		return 0
	}
	until, ok := verify(token, key, s.Origin)
	if !ok {
		return http.StatusForbidden
	}
	s.tokens.Store(authorization, until)
	return 0
}

// localContact reports whether nobody in the Internet could write to the contact
// of a message.
func localContact(r *http.Request) bool {
	token, _, _ := parseAuthorization(r.Header.Get("Authorization"))
	var claims struct{ Sub string }
	parts := strings.Split(token, ".")
	return len(parts) == 3 && decodeJSON(parts[1], &claims) &&
		(strings.HasSuffix(claims.Sub, "localhost") || strings.HasSuffix(claims.Sub, ".invalid"))
}

// parseAuthorization reads "vapid t=<token>, k=<key>".
func parseAuthorization(field string) (token, key string, ok bool) {
	rest, ok := strings.CutPrefix(field, "vapid ")
	for part := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		switch name {
		case "t":
			token = value
		case "k":
			key = value
		}
	}
	return token, key, ok && token != "" && key != ""
}

// verify checks the signature and the claims of a token.
func verify(token, key, audience string) (until time.Time, ok bool) {
	var header struct{ Typ, Alg string }
	var claims struct {
		Aud, Sub string
		Exp      int64
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 || !decodeJSON(parts[0], &header) || !decodeJSON(parts[1], &claims) || !signed(token, key) {
		return until, false
	}
	until = time.Unix(claims.Exp, 0)
	left := time.Until(until)
	return until, header.Typ == "JWT" && header.Alg == "ES256" &&
		claims.Aud == audience && left > 0 && left <= 24*time.Hour &&
		(strings.HasPrefix(claims.Sub, "mailto:") || strings.HasPrefix(claims.Sub, "https:"))
}

// signed reports whether the token was signed with the key.
func signed(token, key string) bool {
	dot := strings.LastIndexByte(token, '.')
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || len(signature) != 64 {
		return false
	}
	point, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		return false
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		return false
	}
	hash := sha256.Sum256([]byte(token[:dot]))
	return ecdsa.Verify(public, hash[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:]))
}

func decodeJSON(part string, value any) bool {
	text, err := base64.RawURLEncoding.DecodeString(part)
	return err == nil && json.Unmarshal(text, value) == nil
}

var topicSyntax = regexp.MustCompile(`^[A-Za-z0-9_-]{0,32}$`)

func validTopic(topic string) bool { return topicSyntax.MatchString(topic) }

func validUrgency(urgency string) bool {
	return slices.Contains([]string{"", "very-low", "low", "normal", "high"}, urgency)
}
