// Copyright The caddy-dovecot-push Authors
// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"time"

	"github.com/dovecotpush/caddy-dovecot-push/internal/username"
)

// SessionID identifies a session. It stays the same when the session is
// renewed.
type SessionID [16]byte

// Session is what is needed to decide whether a session has ended.
type Session struct {
	ID   SessionID
	User string
	// Created is when the password was shown.
	Created time.Time
}

// session is the content of a token.
type session struct {
	id SessionID
	// created is when the password was shown; renewed is when the token was
	// made. To the second.
	created, renewed time.Time
	user             string
}

const (
	// lifetime is how long an unused session lasts.
	lifetime = 30 * 24 * time.Hour
	// maxLifetime is how long a session lasts at most: a password that has been
	// changed must not grant access for ever.
	maxLifetime = 90 * 24 * time.Hour
	// renewAfter is how old a token is when a new one replaces it.
	renewAfter = 24 * time.Hour
	// clockSkew is how far the clocks of the instances of a cluster may differ.
	clockSkew = 5 * time.Minute
)

func (s *session) public() Session { return Session{ID: s.id, User: s.user, Created: s.created} }

func newSession(user string, now time.Time) session {
	s := session{created: now, renewed: now, user: user}
	_, _ = rand.Read(s.id[:]) // never fails (Go 1.24)
	return s
}

// expires is when the token is no longer taken.
func (s *session) expires() time.Time {
	if end := s.created.Add(maxLifetime); end.Before(s.renewed.Add(lifetime)) {
		return end
	}
	return s.renewed.Add(lifetime)
}

// latest returns when the youngest token that can exist by now expires.
func (s session) latest(now time.Time) time.Time {
	s.renewed = now.Add(clockSkew)
	return s.expires()
}

var errToken = errors.New("the session token is malformed, forged or expired")

// A token is what a session cookie holds:
//
//	token   = base64url(mac(32) payload)
//	payload = version(1) id(16) created(8) renewed(8) user
//	mac     = HMAC-SHA256(key, audience 0x00 payload)
//
// Times are Unix seconds. The audience keeps a token that one site made from
// being taken by another site of the same Caddy.
const (
	tokenVersion = 1
	fixedPayload = 1 + len(SessionID{}) + 8 + 8
	maxToken     = 1024
)

func (s *session) token(key []byte, audience string) string {
	payload := make([]byte, 0, fixedPayload+len(s.user))
	payload = append(payload, tokenVersion)
	payload = append(payload, s.id[:]...)
	payload = binary.BigEndian.AppendUint64(payload, uint64(s.created.Unix()))
	payload = binary.BigEndian.AppendUint64(payload, uint64(s.renewed.Unix()))
	payload = append(payload, s.user...)
	return base64.RawURLEncoding.EncodeToString(append(seal(key, audience, payload), payload...))
}

// parseToken returns the session of token if it was made with key for audience
// and has not expired.
func parseToken(token string, key []byte, audience string, now time.Time) (session, error) {
	var s session
	// Each token has exactly one accepted encoding: decoding is strict, and the
	// line breaks that the decoder ignores are refused.
	if len(token) > maxToken || strings.ContainsAny(token, "\r\n") {
		return s, errToken
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < sha256.Size+fixedPayload {
		return s, errToken
	}
	mac, payload := raw[:sha256.Size], raw[sha256.Size:]
	if !hmac.Equal(mac, seal(key, audience, payload)) || payload[0] != tokenVersion {
		return s, errToken
	}
	payload = payload[1+copy(s.id[:], payload[1:]):]
	s.created = time.Unix(int64(binary.BigEndian.Uint64(payload)), 0)
	s.renewed = time.Unix(int64(binary.BigEndian.Uint64(payload[8:])), 0)
	s.user = string(payload[16:])
	switch {
	case username.Valid(s.user) != nil:
		return session{}, errToken
	case !now.Before(s.expires()), s.renewed.After(now.Add(clockSkew)):
		return session{}, errToken
	}
	return s, nil
}

func seal(key []byte, audience string, payload []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(audience))
	mac.Write([]byte{0})
	mac.Write(payload)
	return mac.Sum(nil)
}
